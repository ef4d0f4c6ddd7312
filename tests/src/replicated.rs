//! Several real Redis with a Sentinel beside each, every pair on a loopback address of its own, stopped when dropped.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
};

use keystead_route::Endpoint;
use tempfile::TempDir;

use crate::processes::{ADMIN, ADMIN_RULE, cli, end, free_hosts, signal, spawn, until};

const REDIS: u16 = 6379;
const SENTINEL: u16 = 26379;
const NAME: &str = "shop";

/// A primary with its replicas, and the Sentinels that decide which is which.
#[derive(Debug)]
pub struct Replicated {
    members: Vec<Member>,
    folder: TempDir,
    redis_users: Vec<String>,
    sentinel_users: Vec<String>,
}

#[derive(Debug)]
struct Member {
    host: String,
    redis: Option<Child>,
    sentinel: Option<Child>,
}

impl Replicated {
    /// Starts so many with these users of Redis and of Sentinel, the first as the primary, and waits until all know each
    /// other.
    pub fn start(count: usize, redis_users: &[&str], sentinel_users: &[&str]) -> Self {
        let owned = |users: &[&str]| users.iter().map(|user| (*user).to_owned()).collect();
        let hosts = free_hosts(count, &[REDIS, SENTINEL]);
        let members = hosts.into_iter().map(|host| Member { host, redis: None, sentinel: None }).collect();
        let mut group = Self {
            members,
            folder: tempfile::tempdir().expect("a temporary folder"),
            redis_users: owned(redis_users),
            sentinel_users: owned(sentinel_users),
        };
        for index in 0..count {
            group.start_redis(index, (index > 0).then_some(0));
        }
        let is_followed = |group: &Self| {
            group.info(0).lines().filter(|line| line.contains("state=online")).count() == count - 1
        };
        group.until("the replicas follow", |group| is_followed(group).then_some(()));
        for index in 0..count {
            group.start_sentinel(index, 0);
        }
        group.until_settled();
        group
    }

    /// How a client reaches them.
    pub fn endpoint(&self) -> Endpoint {
        let addresses = |port: u16| self.members.iter().map(|it| format!("{}:{port}", it.host)).collect();
        Endpoint::Replicated {
            primary_name: NAME.into(),
            sentinels: addresses(SENTINEL),
            members: addresses(REDIS),
            readers: None,
        }
    }

    /// `host:port` of a member.
    pub fn address(&self, member: usize) -> String {
        format!("{}:{REDIS}", self.members[member].host)
    }

    /// The member that most living Sentinels name and that says so itself; none while they are at odds.
    pub fn primary(&self) -> Option<usize> {
        let named: Vec<String> = (0..self.members.len())
            .filter(|index| self.members[*index].sentinel.is_some())
            .map(|index| {
                let answer = self.ask_sentinel(index, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
                answer.lines().next().unwrap_or_default().to_owned()
            })
            .collect();
        self.members
            .iter()
            .position(|member| 2 * named.iter().filter(|name| **name == member.host).count() > named.len())
            .filter(|index| self.info(*index).contains("role:master"))
    }

    /// Waits until all agree who is the primary, and everybody that lives follows it.
    pub fn until_settled(&self) -> usize {
        self.until("all agree", |group| {
            let primary = group.primary()?;
            let living = group.members.iter().filter(|member| member.redis.is_some()).count();
            let online = group.info(primary).lines().filter(|line| line.contains("state=online")).count();
            let sentinels = group.members.iter().filter(|member| member.sentinel.is_some()).count();
            let all_known =
                (0..group.members.len()).filter(|it| group.members[*it].sentinel.is_some()).all(|it| {
                    let text = group.ask_sentinel(it, &["SENTINEL", "MASTER", NAME]);
                    let words: Vec<&str> = text.lines().collect();
                    let field = |name: &str| {
                        let at = words.iter().position(|word| *word == name);
                        at.and_then(|at| words.get(at + 1)).and_then(|text| text.parse::<usize>().ok())
                    };
                    !text.contains("failover_in_progress")
                        && field("num-slaves") >= Some(living - 1)
                        && field("num-other-sentinels") >= Some(sentinels - 1)
                });
            (online == living - 1 && all_known).then_some(primary)
        })
    }

    /// SIGKILL to the Redis of a member; its Sentinel goes on.
    pub fn kill(&mut self, member: usize) {
        end(&mut self.members[member].redis);
    }

    /// SIGKILL to a Sentinel.
    pub fn kill_sentinel(&mut self, member: usize) {
        end(&mut self.members[member].sentinel);
    }

    /// Starts a killed Redis again, as a replica of the primary of now.
    pub fn revive(&mut self, member: usize) {
        let primary = self.until("a primary", Self::primary);
        self.start_redis(member, Some(primary));
    }

    /// SIGSTOP to a Redis: it accepts connections and answers nothing.
    pub fn pause(&self, member: usize) {
        signal("-STOP", self.members[member].redis.as_ref());
    }

    /// SIGCONT to a Redis.
    pub fn resume(&self, member: usize) {
        signal("-CONT", self.members[member].redis.as_ref());
    }

    /// SIGSTOP to a Sentinel.
    pub fn pause_sentinel(&self, member: usize) {
        signal("-STOP", self.members[member].sentinel.as_ref());
    }

    /// Hands the primary over as the operator does: no write between the pause and the new primary's first. Gives the new
    /// primary.
    pub fn hand_over(&self) -> usize {
        let old = self.until_settled();
        let field = |member: usize, name: &str| {
            let info = self.info(member);
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
        };
        self.cli(old, &["CLIENT", "PAUSE", "10000", "WRITE"]);
        self.until("a replica has everything", |group| {
            let offset = field(old, "master_repl_offset")?;
            (0..group.members.len())
                .filter(|it| *it != old && group.members[*it].redis.is_some())
                .any(|it| field(it, "slave_repl_offset").as_ref() == Some(&offset))
                .then_some(())
        });
        self.until("a failover by hand", |group| {
            (group.ask_sentinel(0, &["SENTINEL", "FAILOVER", NAME]) == "OK").then_some(())
        });
        let new = self.until("a new primary", |group| {
            (0..group.members.len()).find(|it| {
                *it != old && group.members[*it].redis.is_some() && group.info(*it).contains("role:master")
            })
        });
        self.cli(old, &["REPLICAOF", &self.members[new].host, &REDIS.to_string()]);
        self.cli(old, &["CLIENT", "UNPAUSE"]);
        new
    }

    /// Runs redis-cli against a member as a user who may do everything.
    pub fn cli(&self, member: usize, arguments: &[&str]) -> String {
        cli(&self.members[member].host, REDIS, arguments)
    }

    /// The same against a member's Sentinel.
    pub fn ask_sentinel(&self, member: usize, arguments: &[&str]) -> String {
        cli(&self.members[member].host, SENTINEL, arguments)
    }

    /// Asks until there is something.
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        until(what, || probe(self), || self.logs())
    }

    fn info(&self, member: usize) -> String {
        self.cli(member, &["INFO", "replication"]).replace('\r', "")
    }

    fn start_redis(&mut self, member: usize, follows: Option<usize>) {
        let folder = self.folder_of(member, "redis");
        let users = folder.join("users.acl");
        let lines = format!("user default off\n{ADMIN_RULE}\n{}\n", self.redis_users.join("\n"));
        fs::write(&users, lines).expect("writing the ACL file");
        let host = self.members[member].host.clone();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", &host, "--port", &REDIS.to_string(), "--replica-announce-ip", &host])
            .args([
                "--save",
                "",
                "--masteruser",
                ADMIN,
                "--masterauth",
                ADMIN,
                "--repl-diskless-sync-delay",
                "0",
            ])
            .args(["--min-replicas-to-write", "1", "--min-replicas-max-lag", "5"])
            .args(["--replica-serve-stale-data", "no"])
            .arg("--aclfile")
            .arg(&users);
        if let Some(primary) = follows {
            command.args(["--replicaof", &format!("{} {REDIS}", self.members[primary].host)]);
        }
        self.members[member].redis = Some(spawn(command, &folder, &host, REDIS));
    }

    fn start_sentinel(&mut self, member: usize, primary: usize) {
        let folder = self.folder_of(member, "sentinel");
        let (host, quorum) = (&self.members[member].host, self.members.len() / 2 + 1);
        let file = folder.join("sentinel.conf");
        let lines = [
            format!("bind {host}"),
            format!("port {SENTINEL}"),
            format!("sentinel announce-ip {host}"),
            format!("sentinel monitor {NAME} {} {REDIS} {quorum}", self.members[primary].host),
            format!("sentinel down-after-milliseconds {NAME} 1200"),
            format!("sentinel failover-timeout {NAME} 5000"),
            format!("sentinel parallel-syncs {NAME} 2"),
            format!("sentinel auth-user {NAME} {ADMIN}"),
            format!("sentinel auth-pass {NAME} {ADMIN}"),
            format!("sentinel sentinel-user {ADMIN}"),
            format!("sentinel sentinel-pass {ADMIN}"),
            "user default off".into(),
            ADMIN_RULE.into(),
            self.sentinel_users.join("\n"),
        ];
        fs::write(&file, lines.join("\n") + "\n").expect("writing the Sentinel's file");
        let mut command = Command::new("redis-sentinel");
        command.arg(&file);
        self.members[member].sentinel = Some(spawn(command, &folder, host, SENTINEL));
    }

    fn folder_of(&self, member: usize, what: &str) -> PathBuf {
        let folder = self.folder.path().join(format!("{what}-{member}"));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn logs(&self) -> String {
        let all = (0..self.members.len()).flat_map(|member| {
            ["redis", "sentinel"].map(|what| {
                let log = fs::read_to_string(self.folder_of(member, what).join("log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(15).collect();
                format!("{what} {member}:\n{}\n", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
            })
        });
        all.collect()
    }
}

impl Drop for Replicated {
    fn drop(&mut self) {
        for member in &mut self.members {
            end(&mut member.sentinel);
            end(&mut member.redis);
        }
    }
}
