//! A real Redis Cluster: shards of a primary and its replicas, each on a loopback address of its own, stopped when dropped.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use keystead_route::Endpoint;
use tempfile::TempDir;

use crate::processes::{ADMIN, ADMIN_RULE, cli, end, free_hosts, signal, spawn, until};

const REDIS: u16 = 6379;
const BUS: u16 = 16379;
/// A reshaping of the slots may take so long on a machine that compiles beside it.
const RESHAPED_WITHIN: Duration = Duration::from_mins(2);

/// Members by number: those of shard 0 first, its first primary before its replicas, then those of shard 1, and so on.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    per_shard: usize,
    folder: TempDir,
    users: Vec<String>,
}

#[derive(Debug)]
struct Member {
    host: String,
    redis: Option<Child>,
}

impl Cluster {
    /// Starts so many shards, each with so many replicas, and these users. The last `spare` shards run and have no part in the
    /// cluster yet. Waits until all is as it should be.
    pub fn start(shards: usize, spare: usize, replicas: usize, users: &[&str]) -> Self {
        let per_shard = 1 + replicas;
        let hosts = free_hosts((shards + spare) * per_shard, &[REDIS, BUS]);
        let mut cluster = Self {
            members: hosts.into_iter().map(|host| Member { host, redis: None }).collect(),
            per_shard,
            folder: tempfile::tempdir().expect("a temporary folder"),
            users: users.iter().map(|user| (*user).to_owned()).collect(),
        };
        for member in 0..cluster.members.len() {
            cluster.start_redis(member);
        }
        let primaries: Vec<String> = (0..shards).map(|shard| cluster.address(shard * per_shard)).collect();
        let create = [vec!["create".to_owned()], primaries, vec!["--cluster-yes".into()]].concat();
        cluster.reshape(&create.iter().map(String::as_str).collect::<Vec<_>>());
        for shard in 0..shards {
            cluster.add_replicas(shard);
        }
        cluster.until_settled();
        cluster
    }

    /// How a client reaches them, with the spare shards.
    pub fn endpoint(&self) -> Endpoint {
        let addresses: Vec<String> = (0..self.members.len()).map(|it| self.address(it)).collect();
        Endpoint::Cluster { shards: addresses.chunks(self.per_shard).map(<[String]>::to_vec).collect() }
    }

    /// `host:port` of a member.
    pub fn address(&self, member: usize) -> String {
        format!("{}:{REDIS}", self.members[member].host)
    }

    pub fn members_of(&self, shard: usize) -> std::ops::Range<usize> {
        shard * self.per_shard..(shard + 1) * self.per_shard
    }

    fn members_before(&self, shard: usize) -> impl Iterator<Item = usize> {
        (0..self.members_of(shard).start).filter(|it| self.members[*it].redis.is_some())
    }

    /// The member of a shard that runs, has slots and says that it is the primary.
    pub fn primary(&self, shard: usize) -> Option<usize> {
        self.members_of(shard).find(|member| {
            self.members[*member].redis.is_some() && {
                let nodes = self.cli(*member, &["CLUSTER", "NODES"]);
                let own = nodes.lines().find(|line| line.contains("myself,master"));
                own.is_some_and(|line| line.split(' ').count() > 8)
            }
        })
    }

    /// The shard that has the slot of a key.
    pub fn shard_of(&self, key: &str) -> usize {
        let member = (0..self.members.len()).find(|it| self.members[*it].redis.is_some()).expect("one runs");
        let slot: u16 = self.cli(member, &["CLUSTER", "KEYSLOT", key]).parse().expect("a slot");
        let shards = self.members.len() / self.per_shard;
        let has =
            |shard: &usize| self.primary(*shard).is_some_and(|primary| self.slots(primary).contains(&slot));
        (0..shards).find(has).expect("a shard has the slot")
    }

    /// How many slots a shard has.
    pub fn slot_count(&self, shard: usize) -> usize {
        self.primary(shard).map_or(0, |primary| self.slots(primary).len())
    }

    fn slots(&self, member: usize) -> Vec<u16> {
        let nodes = self.cli(member, &["CLUSTER", "NODES"]);
        let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
        let range = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
        };
        own.split(' ').skip(8).filter_map(range).flatten().collect()
    }

    /// Waits until every member that runs sees the cluster whole, and every replica is in sync.
    pub fn until_settled(&self) {
        self.until("the cluster is whole", |cluster| {
            let living = (0..cluster.members.len()).filter(|it| cluster.members[*it].redis.is_some());
            let mut joined = living.filter(|it| {
                let info = cluster.cli(*it, &["CLUSTER", "INFO"]);
                !info.contains("cluster_known_nodes:1\r") && !info.contains("cluster_known_nodes:1\n")
            });
            joined
                .all(|it| {
                    let (info, replication) =
                        (cluster.cli(it, &["CLUSTER", "INFO"]), cluster.cli(it, &["INFO", "replication"]));
                    let is_in_sync =
                        !replication.contains("role:slave") || replication.contains("master_link_status:up");
                    info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384") && is_in_sync
                })
                .then_some(())
        });
    }

    /// Takes a spare shard in and gives it its part of the slots, while others read and write.
    pub fn grow(&self, shard: usize) {
        let first = self.members_of(shard).start;
        self.reshape(&["add-node", &self.address(first), &self.address(0)]);
        self.until("all know the new one", |cluster| {
            let known = |member: usize| {
                let nodes = cluster.cli(member, &["CLUSTER", "NODES"]);
                nodes.lines().filter(|line| !line.contains("handshake")).count()
            };
            let own = known(first);
            (own > 1 && cluster.members_before(shard).all(|it| known(it) == own)).then_some(())
        });
        self.add_replicas(shard);
        // It refuses keys at first; who moves a slot there gives up in the middle.
        self.until("the new one takes keys", |cluster| {
            cluster.cli(first, &["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
        });
        self.reshape(&[
            "rebalance",
            &self.address(0),
            "--cluster-use-empty-masters",
            "--cluster-threshold",
            "1",
        ]);
    }

    /// Moves all slots of a shard to the others.
    pub fn shrink(&self, shard: usize) {
        let weight = format!("{}=0", self.id(self.primary(shard).expect("a primary")));
        self.reshape(&[
            "rebalance",
            &self.address(0),
            "--cluster-weight",
            &weight,
            "--cluster-threshold",
            "1",
        ]);
    }

    /// A hand-over as planned changes do it: without a lost write. Gives the new primary.
    pub fn hand_over(&self, shard: usize) -> usize {
        let old = self.primary(shard).expect("a primary");
        let to = self.members_of(shard).find(|it| *it != old).expect("a replica");
        self.until("a failover by hand begins", |cluster| {
            cluster.cli(to, &["CLUSTER", "FAILOVER"]).contains("OK").then_some(())
        });
        self.until("the replica is the primary", |cluster| (cluster.primary(shard) == Some(to)).then_some(to))
    }

    /// SIGKILL to a member.
    pub fn kill(&mut self, member: usize) {
        end(&mut self.members[member].redis);
    }

    /// Starts a killed member again.
    pub fn revive(&mut self, member: usize) {
        self.start_redis(member);
    }

    /// SIGSTOP to a member: it accepts connections and answers nothing.
    pub fn pause(&self, member: usize) {
        signal("-STOP", self.members[member].redis.as_ref());
    }

    /// SIGCONT to a member.
    pub fn resume(&self, member: usize) {
        signal("-CONT", self.members[member].redis.as_ref());
    }

    /// Runs redis-cli against a member as a user who may do everything.
    pub fn cli(&self, member: usize, arguments: &[&str]) -> String {
        cli(&self.members[member].host, REDIS, arguments)
    }

    /// Runs a command at every member that runs and is a primary.
    pub fn at_primaries(&self, arguments: &[&str]) -> Vec<String> {
        let shards = self.members.len() / self.per_shard;
        (0..shards).filter_map(|shard| self.primary(shard)).map(|it| self.cli(it, arguments)).collect()
    }

    /// Asks until there is something.
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        until(what, || probe(self), || self.logs())
    }

    fn id(&self, member: usize) -> String {
        self.cli(member, &["CLUSTER", "MYID"])
    }

    fn add_replicas(&self, shard: usize) {
        let members = self.members_of(shard);
        let (first, known) = (members.start, &self.members[0].host);
        let id = self.id(first);
        for member in members.skip(1) {
            self.cli(member, &["CLUSTER", "MEET", known, &REDIS.to_string()]);
            self.until("it knows its primary and follows it", |cluster| {
                cluster.cli(member, &["CLUSTER", "REPLICATE", &id]).contains("OK").then_some(())
            });
            // Until then a primary refuses keys, and who moves a slot there gives up in the middle.
            self.until("its primary has it in sync", |cluster| {
                let info = cluster.cli(first, &["INFO", "replication"]);
                let is_online = format!("ip={},port={REDIS},state=online", cluster.members[member].host);
                info.contains(&is_online).then_some(())
            });
        }
    }

    /// `redis-cli --cluster …`, again where the members do not yet agree.
    fn reshape(&self, arguments: &[&str]) {
        let started = Instant::now();
        let mut first = None;
        loop {
            let mut command = Command::new("redis-cli");
            command
                .args(["--user", ADMIN, "--pass", ADMIN, "--no-auth-warning", "--cluster"])
                .args(arguments);
            let output = command.output().expect("redis-cli is installed");
            if output.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let last = |said: &str| said.lines().rev().take(10).map(str::to_owned).collect::<Vec<_>>();
            // What failed first is why the others did.
            let first = first.get_or_insert_with(|| last(&said));
            let last = last(&said);
            assert!(
                started.elapsed() < RESHAPED_WITHIN,
                "{arguments:?}: {first:?}, {last:?}\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn start_redis(&mut self, member: usize) {
        let folder = self.folder_of(member);
        let users = folder.join("users.acl");
        let lines = format!("user default off\n{ADMIN_RULE}\n{}\n", self.users.join("\n"));
        fs::write(&users, lines).expect("writing the ACL file");
        let host = self.members[member].host.clone();
        let least = if self.per_shard > 1 { "1" } else { "0" };
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", &host, "--port", &REDIS.to_string(), "--cluster-announce-ip", &host])
            .args(["--replica-announce-ip", &host])
            .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"])
            .args(["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"])
            .args(["--cluster-allow-replica-migration", "no", "--save", ""])
            .args(["--masteruser", ADMIN, "--masterauth", ADMIN, "--repl-diskless-sync-delay", "0"])
            .args(["--min-replicas-to-write", least, "--min-replicas-max-lag", "3"])
            .args(["--replica-serve-stale-data", "no", "--aclfile"])
            .arg(&users);
        self.members[member].redis = Some(spawn(command, &folder, &host, REDIS));
    }

    fn folder_of(&self, member: usize) -> PathBuf {
        let folder = self.folder.path().join(format!("redis-{member}"));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn logs(&self) -> String {
        let all = (0..self.members.len()).map(|member| {
            let log = fs::read_to_string(self.folder_of(member).join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(8).collect();
            let nodes = self.cli(member, &["CLUSTER", "NODES"]);
            format!("{member}:\n{}\n{nodes}\n", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        });
        all.collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            end(&mut member.redis);
        }
    }
}
