//! The members of a Replicated tenant as real processes, each on a loopback address of its own.

use std::{
    fs,
    ops::{Deref, DerefMut},
    thread,
    time::{Duration, Instant},
};

use keystead_operator::tenant::build::{
    TLS_CONF,
    replicated::{self, REDIS_USERS, SCRIPTS, SENTINEL_USERS},
};
use tempfile::TempDir;

use crate::{
    attempt::attempts,
    certificates::Certificates,
    client::{Reply, ask},
    pod::{NAME, Pod, assert_no_denials, free_net, mounted, password, tails, user},
    process::Container,
    secured,
    writer::{Account, Writer},
};

pub(crate) use crate::pod::REDIS;

pub(crate) const SENTINEL: u16 = 26379;
/// What a reader says its address is.
const READER: &str = "192.0.2.1";

pub(crate) struct Tenant {
    pub(crate) members: Vec<Member>,
    // Removed last.
    pub(crate) folder: TempDir,
}

pub(crate) struct Member {
    pod: Pod,
    pub(crate) redis: Option<Container>,
    pub(crate) sentinel: Option<Container>,
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

fn addresses(count: usize) -> Vec<String> {
    let net = free_net(&[REDIS, SENTINEL]);
    (1..=count).map(|host| format!("{net}.{host}")).collect()
}

impl Tenant {
    /// The files of a tenant; nothing runs yet.
    pub(crate) fn new(count: u8) -> Self {
        Self::with_port(count, &format!("port {REDIS}\n"))
    }

    /// The same, where its members speak TLS.
    pub(crate) fn secured(count: u8) -> (Self, Certificates) {
        let tenant = Self::with_port(count, TLS_CONF);
        let folder = tenant.folder.path().join("tls");
        let mut addresses = tenant.addresses();
        addresses.push(tenant.reader_address());
        let certificates = Certificates::new(&addresses);
        certificates.mount(&folder);
        for address in addresses {
            secured::trust(&address, &folder.join("ca.crt"));
        }
        (tenant, certificates)
    }

    /// Gives the pods other certificates.
    pub(crate) fn mount(&self, certificates: &Certificates) {
        certificates.mount(&self.folder.path().join("tls"));
    }

    fn with_port(count: u8, port: &str) -> Self {
        let folder = mounted(&SCRIPTS, port, &replicated::redis_conf(count, 100 << 20));
        let members: Vec<Member> = addresses(count.into())
            .into_iter()
            .enumerate()
            .map(|(ordinal, address)| {
                let pod = Pod::new(folder.path(), format!("redis-{ordinal}"), address);
                Member { pod, redis: None, sentinel: None }
            })
            .collect();
        let tenant = Self { members, folder };
        tenant.write_members();
        tenant.secrets(&["1"], "1");
        tenant
    }

    fn write_members(&self) {
        let lines: Vec<String> =
            self.members.iter().map(|it| format!("{} {}\n", it.name, it.address)).collect();
        fs::write(self.folder.path().join("config/members"), lines.concat()).unwrap();
    }

    /// Gives every member another address, as a tenant has that is made anew on its old volumes. Nothing may run.
    pub(crate) fn move_away(&mut self) {
        let others = addresses(self.members.len());
        for (member, address) in self.members.iter_mut().zip(others) {
            member.address = address;
        }
        self.write_members();
    }

    /// A tenant whose members all run and are in sync.
    pub(crate) fn settled(count: u8) -> Self {
        let mut tenant = Self::new(count);
        tenant.members.iter_mut().for_each(Member::start);
        tenant.settle();
        tenant
    }

    /// Writes the Secrets as mounted: passwords of these generations are valid, that of one is used.
    pub(crate) fn secrets(&self, valid: &[&str], used: &str) {
        let tester = "user tester on >tester ~* &* +@all\n";
        let redis: String = REDIS_USERS
            .iter()
            .chain([&("monitor", keystead_kv::acl::MONITOR)])
            .map(|(name, rules)| user(name, rules, valid))
            .collect();
        let sentinel: String = SENTINEL_USERS.iter().map(|(name, rules)| user(name, rules, valid)).collect();
        let write = |path: &str, text: String| fs::write(self.folder.path().join(path), text).unwrap();
        write("users/users.acl", format!("user default off resetpass ~* &* +@all\n{redis}{tester}"));
        write("users/sentinel-users.acl", format!("user default off resetpass -@all\n{sentinel}{tester}"));
        for name in ["replication", "sentinel", "monitor"] {
            write(&format!("passwords/{name}"), password(name, used));
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|it| it.address.clone()).collect()
    }

    pub(crate) fn writer(&self, name: &str, replicas: usize) -> Writer {
        Writer::start(name, attempts(self.addresses(), replicas))
    }

    fn reader_address(&self) -> String {
        format!("{}1", self.members[0].address)
    }

    /// One that is no member.
    pub(crate) fn reader(&self) -> Member {
        let pod = Pod::new(self.folder.path(), "redis-readers-0".into(), self.reader_address());
        let mut reader = Member { pod, redis: None, sentinel: None };
        reader.redis = Some(reader.container("reader.sh", "redis.log", NAME));
        reader
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
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until one is the primary, all others are its candidates, and every Sentinel knows that; gives its place.
    pub(crate) fn settle(&self) -> usize {
        self.wait_for("the members are settled", |it| it.primary().is_some());
        self.primary().unwrap_or_else(|| self.settle())
    }

    fn primary(&self) -> Option<usize> {
        let address = self.members[0].names()?;
        let others = self.members.len() - 1;
        let settled = self.members.iter().all(|member| {
            let master = member.sentinel(&["SENTINEL", "MASTER", "primary"]);
            let replicas = member.sentinel(&["SENTINEL", "REPLICAS", "primary"]);
            let members = || replicas.list().iter().filter(|it| it.field("ip") != READER);
            let candidates = members().filter(|it| it.field("slave-priority") == "100");
            member.names().as_deref() == Some(&address)
                && master.field("flags") == "master"
                && master.field("num-other-sentinels") == others.to_string()
                && candidates.count() == others
                && members().all(|it| it.field("flags") == "slave")
                && if member.address == address {
                    member.info("role") == "master" && member.info("connected_slaves") == others.to_string()
                } else {
                    member.info("master_host") == address
                        && member.info("master_link_status") == "up"
                        && member.info("slave_priority") == "100"
                }
        });
        settled.then(|| self.members.iter().position(|it| it.address == address)).flatten()
    }

    /// How many of those that were acknowledged are missing; prints the figures, and what is known of those.
    pub(crate) fn check(&self, what: &str, account: &Account) -> usize {
        let primary = &self.members[self.settle()];
        // One connection: many keys.
        let mut client = crate::client::Client::connect(&primary.address, REDIS).unwrap();
        let answers = account.keys.iter().map(|key| (key, client.call(&["GET", key]).unwrap()));
        let lost: Vec<_> = answers.filter(|(key, answer)| answer.text() != key.as_str()).collect();
        account.print(what, lost.len());
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            println!("lost at {}, from {first:?} to {last:?}\n{}", primary.address, self.logs());
        }
        self.check_denials();
        lost.len()
    }

    /// No user was refused what it wanted.
    pub(crate) fn check_denials(&self) {
        for member in &self.members {
            assert_no_denials(
                &member.name,
                &[member.redis(&["ACL", "LOG"]), member.sentinel(&["ACL", "LOG"])],
            );
        }
    }

    pub(crate) fn logs(&self) -> String {
        let files = |it: &Member| ["redis.log", "sentinel.log"].map(|name| it.folder.join(name));
        tails(self.members.iter().flat_map(files))
    }
}

impl Member {
    pub(crate) fn start(&mut self) {
        self.start_as(NAME);
    }

    pub(crate) fn start_as(&mut self, tenant: &str) {
        self.start_redis_as(tenant);
        self.sentinel = Some(self.container("sentinel.sh", "sentinel.log", tenant));
    }

    pub(crate) fn start_redis_as(&mut self, tenant: &str) {
        self.redis = Some(self.container("redis.sh", "redis.log", tenant));
    }

    pub(crate) fn start_sentinel(&mut self) {
        self.sentinel = Some(self.container("sentinel.sh", "sentinel.log", NAME));
    }

    /// The pod is gone at once: both containers killed, memory lost.
    pub(crate) fn kill(&mut self) {
        self.redis = None;
        self.sentinel = None;
        self.forget();
    }

    pub(crate) fn forget_sentinel(&self) {
        fs::remove_dir_all(self.folder.join("data/sentinel")).unwrap();
    }

    /// The pod is deleted: the hooks, then SIGTERM to both containers.
    pub(crate) fn end(&mut self) {
        let mut hooks = [("hand_over.sh", "redis.log"), ("wait_hand_over.sh", "sentinel.log")]
            .map(|(script, log)| self.script(script, log, NAME).spawn().unwrap());
        let (redis, sentinel) = (self.redis.take(), self.sentinel.take());
        thread::scope(|scope| {
            for (hook, container) in hooks.iter_mut().zip([redis, sentinel]) {
                scope.spawn(move || {
                    assert!(hook.wait().unwrap().success());
                    container.unwrap().terminate();
                });
            }
        });
        self.kill();
    }

    pub(crate) fn probe(&self, script: &str) -> bool {
        let (script, port) = script.split_once(' ').unwrap_or((script, "6379"));
        self.script(script, "redis.log", NAME).arg(port).output().unwrap().status.success()
    }

    pub(crate) fn sentinel(&self, command: &[&str]) -> Reply {
        ask(&self.address, SENTINEL, command).unwrap_or(Reply::Nil)
    }

    /// Whom its Sentinel names.
    pub(crate) fn names(&self) -> Option<String> {
        let reply = self.sentinel(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary"]);
        reply.list().first().map(|address| address.text().to_owned())
    }
}
