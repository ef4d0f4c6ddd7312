//! What the operator makes of a cluster of real Redis, which it asks as the user `monitor`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command},
    time::{Duration, Instant},
};

use keystead_crds::Topology;
use keystead_operator::tenant::{
    build::cluster::MONITOR,
    members::{self, Member, cluster},
    names,
};
use tempfile::TempDir;

const SHARDS: u8 = 3;

/// A Redis of its own address, for whom every member is alike: shard and ordinal are only in its name.
struct Server {
    name: String,
    ip: String,
    process: Child,
    folder: TempDir,
}

impl Server {
    fn start(network: u8, shard: u8, ordinal: u8) -> Self {
        let folder = TempDir::new().unwrap();
        let ip = format!("127.{network}.{}.{}", shard + 1, ordinal + 1);
        let users = format!(
            "user default on nopass ~* &* +@all\nuser monitor on >monitor-word {} {MONITOR}\n",
            keystead_kv::acl::MONITOR
        );
        fs::write(folder.path().join("users.acl"), users).unwrap();
        let process = Command::new("redis-server")
            .args(["--bind", &ip, "--port", "6379", "--cluster-enabled", "yes", "--save", ""])
            .args(["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"])
            .args(["--cluster-announce-ip", &ip, "--cluster-allow-replica-migration", "no"])
            .args(["--aclfile", "users.acl", "--repl-diskless-sync-delay", "0"])
            .current_dir(folder.path())
            .stdout(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .expect("redis-server is installed");
        Self { name: names::shard_member(shard, ordinal), ip, process, folder }
    }

    fn tell(&self, words: &str) -> String {
        let arguments = ["-h", &self.ip].into_iter().chain(words.split(' '));
        let output = Command::new("redis-cli").args(arguments).output().expect("redis-cli is installed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(8)..].join("\n");
        format!("{}:\n{last}\n{}", self.name, self.tell("CLUSTER NODES"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn look(servers: &[Server]) -> Vec<Member> {
    let addresses: Vec<_> = servers.iter().map(|it| (it.name.clone(), it.ip.clone())).collect();
    members::look(&addresses, Topology::Cluster, &"monitor-word".into(), &BTreeMap::new(), None).await
}

/// Asks until it holds; panics with what was seen last.
async fn until(servers: &[Server], what: &str, holds: impl Fn(&[Member]) -> bool) -> Vec<Member> {
    let limit = Instant::now() + Duration::from_secs(90);
    loop {
        let members = look(servers).await;
        if holds(&members) {
            return members;
        }
        if Instant::now() >= limit {
            let logs: Vec<String> = servers.iter().map(Server::last_words).collect();
            panic!("not so: {what}. The members' last words:\n{}", logs.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn primary(members: &[Member], shard: u8) -> Option<&str> {
    cluster::primary(members, shard).map(|it| it.name.as_str())
}

/// All have been started.
fn is_gone(members: &[Member], shard: u8) -> bool {
    cluster::is_gone(members, shard, |_| false)
}

#[tokio::test]
async fn a_cluster_is_seen_from_its_beginning_to_a_failover_and_the_end_of_a_shard() {
    // Beside other tests that have Redis of their own on the loopback.
    let network = 100 + u8::try_from(std::process::id() % 100).unwrap();
    let pairs = (0..=SHARDS).flat_map(|shard| [(shard, 0), (shard, 1)]);
    let mut servers: Vec<Server> =
        pairs.map(|(shard, ordinal)| Server::start(network, shard, ordinal)).collect();
    let all_answer = |members: &[Member]| members.iter().all(|it| it.knows.is_some());
    let strangers = until(&servers, "all answer", all_answer).await;
    assert_eq!(cluster::lacks(&strangers, SHARDS, &[]).unwrap(), "form a cluster of 3 shards");
    assert!(strangers.iter().all(cluster::is_empty));
    assert!(is_gone(&strangers, SHARDS), "the fourth shard never held anything");

    // Shards 0 to 2 are formed, and the fourth only belongs to them. Each with an epoch of its own, as `reshape.sh` gives them.
    for (turn, server) in (1..).zip(&servers) {
        assert_eq!(server.tell(&format!("CLUSTER SET-CONFIG-EPOCH {turn}")), "OK");
    }
    for server in &servers[1..] {
        servers[0].tell(&format!("CLUSTER MEET {} 6379", server.ip));
    }
    for (at, slots) in [(0, "0 5460"), (2, "5461 10921"), (4, "10922 16383")] {
        assert_eq!(servers[at].tell(&format!("CLUSTER ADDSLOTSRANGE {slots}")), "OK");
    }
    for shard in 0..usize::from(SHARDS) {
        let id = servers[2 * shard].tell("CLUSTER MYID");
        until(&servers[2 * shard + 1..][..1], "it has heard of its primary", |_| {
            servers[2 * shard + 1].tell(&format!("CLUSTER REPLICATE {id}")) == "OK"
        })
        .await;
    }
    let is_in_sync = |members: &[Member]| {
        [1, 3, 5].iter().all(|at| cluster::is_in_sync(members, &members[*at]))
            && cluster::lacks(members, SHARDS, &[]).is_none()
    };
    let formed = until(&servers, "all is as it is wanted", is_in_sync).await;
    assert!(cluster::is_formed(&formed));
    assert_eq!(primary(&formed, 1), Some("redis-shard-1-0"));
    assert!(!is_gone(&formed, SHARDS), "the others know it");

    // A slot that is being moved, and its end.
    let target = servers[2].tell("CLUSTER MYID");
    servers[0].tell(&format!("CLUSTER SETSLOT 7 MIGRATING {target}"));
    let is_open = |members: &[Member]| {
        cluster::lacks(members, SHARDS, &[]).is_some_and(|it| it == "finish the move of a slot")
    };
    until(&servers, "the move of a slot is to be finished", is_open).await;
    servers[0].tell("CLUSTER SETSLOT 7 STABLE");

    // The fourth leaves: only when all have forgotten it is it gone.
    let ids = [servers[6].tell("CLUSTER MYID"), servers[7].tell("CLUSTER MYID")];
    for server in &servers[6..] {
        server.tell("CLUSTER RESET HARD");
    }
    for server in &servers[..6] {
        for id in &ids {
            server.tell(&format!("CLUSTER FORGET {id}"));
        }
    }
    until(&servers, "the fourth shard is gone", |members| is_gone(members, SHARDS)).await;

    servers[2].process.kill().unwrap();
    let after =
        until(&servers, "another takes the writes", |members| primary(members, 1) == Some("redis-shard-1-1"))
            .await;
    assert_eq!(primary(&after, 0), Some("redis-shard-0-0"));
    assert!(!is_gone(&after, SHARDS), "one that does not answer may know it");
    assert_eq!(cluster::lacks(&after, SHARDS, &[]), None);
}
