//! The members of a Cluster tenant as real processes, each on a loopback address of its own.

use std::{
    cell::RefCell,
    fs,
    ops::{Deref, DerefMut},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keystead_operator::tenant::build::{
    TLS_CONF,
    cluster::{MONITOR, REDIS_USERS, SCRIPTS, redis_conf},
};
use tempfile::TempDir;

use crate::{
    certificates::Certificates,
    client::Reply,
    cluster::{Cluster, SLOTS, slot},
    pod::{NAME, Pod, assert_no_denials, free_net, mounted, password, tails, user},
    process::Container,
    secured,
    writer::{Account, Writer},
};

pub(crate) use crate::pod::REDIS;

/// Of Redis, and of the members' bus.
const PORTS: [u16; 2] = [REDIS, 16379];
/// The log of a pod.
const LOG: &str = "node.log";

pub(crate) struct Tenant {
    /// Shard by shard.
    pub(crate) members: Vec<Member>,
    replicas: usize,
    net: String,
    /// What was seen on the way, for who reads of a failure.
    noted: RefCell<String>,
    // Removed last.
    pub(crate) folder: TempDir,
}

pub(crate) struct Member {
    pod: Pod,
    pub(crate) shard: usize,
    pub(crate) node: Option<Container>,
}

impl Deref for Member {
    type Target = Pod;

    fn deref(&self) -> &Pod {
        &self.pod
    }
}

impl DerefMut for Member {
    fn deref_mut(&mut self) -> &mut Pod {
        &mut self.pod
    }
}

/// One line of CLUSTER NODES.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) flags: String,
    pub(crate) primary: String,
    pub(crate) epoch: u64,
    pub(crate) slots: Vec<String>,
}

impl Line {
    pub(crate) fn is(&self, flag: &str) -> bool {
        self.flags.split(',').any(|it| it == flag)
    }
}

impl Tenant {
    /// The files of a tenant; nothing runs yet.
    pub(crate) fn new(shards: usize, replicas: usize) -> Self {
        Self::with_port(shards, replicas, &format!("port {REDIS}\n"))
    }

    /// The same, where its members speak TLS.
    pub(crate) fn secured(shards: usize, replicas: usize) -> (Self, Certificates) {
        let tenant = Self::with_port(shards, replicas, TLS_CONF);
        let certificates = Certificates::new(&tenant.addresses());
        tenant.mount(&certificates);
        (tenant, certificates)
    }

    /// Gives the pods other certificates.
    pub(crate) fn mount(&self, certificates: &Certificates) {
        let folder = self.folder.path().join("tls");
        certificates.mount(&folder);
        for address in self.addresses() {
            secured::trust(&address, &folder.join("ca.crt"));
        }
    }

    fn with_port(shards: usize, replicas: usize, port: &str) -> Self {
        let folder = mounted(&SCRIPTS, port, &redis_conf(replicas > 0, 100 << 20));
        fs::write(folder.path().join("config/live.conf"), "maxmemory-policy noeviction\n").unwrap();
        let mut tenant =
            Self { members: Vec::new(), replicas, net: free_net(&PORTS), noted: RefCell::default(), folder };
        for _ in 0..shards {
            tenant.add_shard();
        }
        tenant.secrets(&["1"], "1");
        tenant
    }

    /// A tenant that is formed and in sync.
    pub(crate) fn formed(shards: usize, replicas: usize) -> Self {
        let mut tenant = Self::new(shards, replicas);
        tenant.form();
        tenant
    }

    pub(crate) fn form(&mut self) {
        self.members.iter_mut().for_each(Member::start);
        self.reshape(self.shards());
        self.settle();
    }

    /// The files of one more shard, or of one that was there before.
    pub(crate) fn add_shard(&mut self) {
        let shard = self.shards();
        for ordinal in 0..=self.replicas {
            let name = format!("redis-shard-{shard}-{ordinal}");
            let address = format!("{}.{}", self.net, self.members.len() + 1);
            let pod = Pod::new(self.folder.path(), name, address);
            self.members.push(Member { pod, shard, node: None });
        }
        self.write_members();
    }

    /// Ends the pods of the last shard; their volumes stay.
    pub(crate) fn remove_shard(&mut self) {
        for _ in 0..=self.replicas {
            self.members.pop().unwrap().end();
        }
        self.write_members();
    }

    fn shards(&self) -> usize {
        self.members.last().map_or(0, |it| it.shard + 1)
    }

    fn write_members(&self) {
        let line = |it: &Member| format!("{} {} {}\n", it.name, it.address, it.shard);
        let lines: Vec<String> = self.members.iter().map(line).collect();
        fs::write(self.folder.path().join("config/members"), lines.concat()).unwrap();
    }

    /// Gives every member another address, as a tenant has that is made anew on its old volumes. Nothing may run.
    pub(crate) fn move_away(&mut self) {
        self.net = free_net(&PORTS);
        for (host, member) in self.members.iter_mut().enumerate() {
            member.address = format!("{}.{}", self.net, host + 1);
        }
        self.write_members();
    }

    /// Writes the Secrets as mounted: passwords of these generations are valid, that of one is used.
    pub(crate) fn secrets(&self, valid: &[&str], used: &str) {
        let monitor = format!("{} {MONITOR}", keystead_kv::acl::MONITOR);
        let users: String = REDIS_USERS
            .iter()
            .chain([&("monitor", &*monitor)])
            .map(|(name, rules)| user(name, rules, valid))
            .collect();
        let write = |path: &str, text: String| fs::write(self.folder.path().join(path), text).unwrap();
        let fixed = "user default off resetpass ~* &* +@all\nuser tester on >tester ~* &* +@all\n";
        write("users/users.acl", format!("{fixed}{users}"));
        for name in ["replication", "cluster", "monitor"] {
            write(&format!("passwords/{name}"), password(name, used));
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|it| it.address.clone()).collect()
    }

    pub(crate) fn writer(&self, name: &str, replicas: usize) -> Writer {
        Writer::start(name, self.cluster().attempts(replicas))
    }

    /// The Job of the operator, in a process group of its own.
    pub(crate) fn start_reshape(&self, shards: usize) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.reshape_log()).unwrap();
        let mut command = self.members[0].script("reshape.sh", LOG, NAME);
        command
            .env("HOSTNAME", "reshape")
            .env("KEYSTEAD_SHARDS", shards.to_string())
            .env_remove("KEYSTEAD_BIND")
            .process_group(0)
            .stderr(log);
        command.spawn().unwrap()
    }

    pub(crate) fn reshape(&self, shards: usize) {
        let began = Instant::now();
        let status = self.start_reshape(shards).wait().unwrap();
        assert!(status.success(), "{}", self.logs());
        println!("to {shards} shards in {:.1} s", began.elapsed().as_secs_f64());
    }

    fn reshape_log(&self) -> PathBuf {
        self.folder.path().join("reshape.log")
    }

    pub(crate) fn reshape_said(&self) -> String {
        fs::read_to_string(self.reshape_log()).unwrap_or_default()
    }

    pub(crate) fn flushed(&self) {
        self.wait_for("no member keeps anything back from its file", |it| {
            it.members.iter().all(|member| member.has_flushed())
        });
    }

    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(90);
        while !condition(self) {
            assert!(Instant::now() < until, "still not true: {what}\n{}", self.logs());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until each shard has a primary that all its others follow as candidates, and every member knows exactly
    /// these; gives the places of the primaries.
    pub(crate) fn settle(&self) -> Vec<usize> {
        let mut primaries = Vec::new();
        self.wait_for("the members are settled", |it| {
            primaries = it.primaries();
            primaries.len() == it.shards() && it.is_settled(&primaries)
        });
        primaries
    }

    /// The places of the primary of a shard of two, and of its replica.
    pub(crate) fn pair(&self, shard: usize) -> (usize, usize) {
        let primary = self.settle()[shard];
        (primary, 4 * shard + 1 - primary)
    }

    /// The places of those that say of themselves that they are primaries with slots.
    pub(crate) fn primaries(&self) -> Vec<usize> {
        let serves = |it: &Member| it.own().is_some_and(|own| own.is("master") && !own.slots.is_empty());
        (0..self.members.len()).filter(|place| serves(&self.members[*place])).collect()
    }

    fn is_settled(&self, primaries: &[usize]) -> bool {
        let ids: Vec<String> = self.members.iter().filter_map(|it| Some(it.own()?.id)).collect();
        let shards: Vec<usize> = primaries.iter().map(|it| self.members[*it].shard).collect();
        ids.len() == self.members.len()
            && shards == (0..self.shards()).collect::<Vec<_>>()
            && self.members.iter().enumerate().all(|(place, member)| {
                let view = member.view();
                let known = view.len() == ids.len()
                    && view.iter().all(|it| {
                        ids.contains(&it.id)
                            && !["fail", "fail?", "noaddr", "handshake"].iter().any(|flag| it.is(flag))
                    });
                let info = member.redis(&["CLUSTER", "INFO"]);
                let primary = primaries[member.shard];
                known
                    && info.text().contains("cluster_state:ok")
                    && info.text().contains(&format!("cluster_slots_assigned:{SLOTS}"))
                    && if place == primary {
                        member.info("connected_slaves") == self.replicas.to_string()
                    } else {
                        member.own().is_some_and(|own| own.primary == ids[primary] && !own.is("nofailover"))
                            && member.info("master_link_status") == "up"
                    }
            })
    }

    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::new(&self.addresses())
    }

    /// A key in each slot.
    pub(crate) fn fill(&self) -> Account {
        let mut keys = vec![None; SLOTS.into()];
        let mut missing = SLOTS;
        for number in 0.. {
            let key = format!("fill:{number}");
            let place = usize::from(slot(&key));
            if keys[place].is_none() {
                keys[place] = Some(key);
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        let keys: Vec<String> = keys.into_iter().flatten().collect();
        let mut cluster = self.cluster();
        for key in &keys {
            self.wait_for("the key is set", |_| cluster.call(key, &["SET", key, key], 0).is_ok());
        }
        Account { keys, ..Account::default() }
    }

    /// Nothing that was acknowledged is missing; prints the figures.
    pub(crate) fn check(&self, what: &str, account: &Account) {
        self.settle();
        let mut cluster = self.cluster();
        let lost: Vec<&String> = account
            .keys
            .iter()
            .filter(|key| {
                let mut found = Reply::Nil;
                self.wait_for("the key can be read", |_| {
                    cluster.call(key, &["GET", key], 0).is_ok_and(|reply| {
                        found = reply;
                        true
                    })
                });
                found.text() != key.as_str()
            })
            .collect();
        account.print(what, lost.len());
        assert!(lost.is_empty(), "lost: {lost:?}\n{}", self.logs());
        self.check_denials();
    }

    /// No user was refused what it wanted.
    pub(crate) fn check_denials(&self) {
        for member in &self.members {
            assert_no_denials(&member.name, &[member.redis(&["ACL", "LOG"])]);
        }
    }

    pub(crate) fn logs(&self) -> String {
        let files = self.members.iter().map(|it| it.folder.join(LOG)).chain([self.reshape_log()]);
        tails(files) + &self.noted.borrow() + &self.views()
    }

    /// Keeps for the logs how all see the cluster at this moment.
    pub(crate) fn note(&self, when: &str) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let noted = format!("== {when}, {:.3}\n{}\n", since_1970.as_secs_f64() % 86400.0, self.views());
        self.noted.borrow_mut().push_str(&noted);
    }

    fn views(&self) -> String {
        let view = |it: &Member| {
            let (keys, nodes) = (it.redis(&["INFO", "keyspace"]), it.redis(&["CLUSTER", "NODES"]));
            format!("{}: {}{}", it.address, keys.text(), nodes.text())
        };
        self.members.iter().map(view).collect::<Vec<_>>().join("\n")
    }
}

impl Member {
    pub(crate) fn start(&mut self) {
        self.start_as(NAME);
    }

    pub(crate) fn start_as(&mut self, tenant: &str) {
        self.node = Some(self.container("node.sh", LOG, tenant));
    }

    /// The pod is gone at once: killed, memory lost.
    pub(crate) fn kill(&mut self) {
        self.node = None;
        self.forget();
    }

    /// The pod is deleted: the hook, then SIGTERM.
    pub(crate) fn end(&mut self) {
        assert!(self.script("hand_over.sh", LOG, NAME).status().unwrap().success());
        self.node.take().unwrap().terminate();
        self.kill();
    }

    pub(crate) fn signal(&self, name: &str) {
        self.node.as_ref().unwrap().signal(name);
    }

    pub(crate) fn probe(&self, script: &str) -> bool {
        self.script(script, LOG, NAME).output().unwrap().status.success()
    }

    /// Whom it knows, and itself.
    pub(crate) fn view(&self) -> Vec<Line> {
        let reply = self.redis(&["CLUSTER", "NODES"]);
        let line = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let mut next = || words.next().unwrap_or_default();
            let (id, _, flags, primary, _, _, epoch, _) =
                (next(), next(), next(), next(), next(), next(), next(), next());
            Line { id, flags, primary, epoch: epoch.parse().unwrap(), slots: words.collect() }
        };
        if matches!(reply, Reply::Text(_)) { reply.text().lines().map(line).collect() } else { Vec::new() }
    }

    /// What it says of itself.
    pub(crate) fn own(&self) -> Option<Line> {
        self.view().into_iter().find(|it| it.is("myself"))
    }

    pub(crate) fn log(&self) -> String {
        self.pod.log(LOG)
    }
}
