//! What the operator sees of a tenant's use, with real Redis that it asks as the user `monitor`, with that user's rights.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use keystead_crds::Topology;
use keystead_kv::{
    Condition, ConnectOptions, Connection, JSON, Put, Store, Ttl, acl,
    queue::{Claims, NewJob, Queue, When},
};
use keystead_operator::{
    tenant::{build::cluster::MONITOR, names},
    usage::{
        Usage,
        ask::{NoUsage, Target, ask},
    },
};
use keystead_route::Endpoint;
use tempfile::TempDir;

struct Server {
    ip: String,
    process: Child,
    _folder: TempDir,
}

impl Server {
    fn start(ip: String, rules: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let users = format!("user default on nopass ~* &* +@all\nuser monitor on >monitor-word {rules}\n");
        fs::write(folder.path().join("users.acl"), users).unwrap();
        let process = Command::new("redis-server")
            .args(["--bind", &ip, "--port", "6379", "--save", "", "--aclfile", "users.acl"])
            .args(options)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Self { ip, process, _folder: folder };
        until("it answers", || server.tell("PING") == "PONG");
        server
    }

    fn tell(&self, words: &str) -> String {
        let arguments = ["-h", &self.ip].into_iter().chain(words.split(' '));
        let output = Command::new("redis-cli").args(arguments).output().expect("redis-cli is installed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn address(&self) -> String {
        format!("{}:6379", self.ip)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < limit, "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The beginning of addresses at which nobody has a Redis.
fn free_net() -> String {
    loop {
        let net = format!("127.{}.{}", rand::random_range(1..=254), rand::random_range(0..=255));
        if (1..=4).all(|host| TcpListener::bind((format!("{net}.{host}"), 6379)).is_ok()) {
            return net;
        }
    }
}

fn target(topology: Topology, servers: &[Server]) -> Target {
    let name = |at: usize| match topology {
        Topology::Cluster => names::shard_member(u8::try_from(at).unwrap(), 0),
        _ => names::member(u8::try_from(at).unwrap()),
    };
    Target {
        topology,
        addresses: servers.iter().enumerate().map(|(at, it)| (name(at), it.ip.clone())).collect(),
        shards: (0..u8::try_from(servers.len()).unwrap()).collect(),
        password: "monitor-word".into(),
        ca: None,
    }
}

fn connect(endpoint: Endpoint) -> Connection {
    Connection::open(ConnectOptions::new(endpoint, None, None)).unwrap()
}

async fn put(store: &Store, key: &str, ttl: Ttl) {
    let put = Put {
        value: "\"a value\"".as_bytes().to_vec().into(),
        content_type: JSON.into(),
        tags: BTreeMap::new(),
        ttl,
    };
    store.put(key, &put, &Condition::Any).await.unwrap();
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

async fn look(target: &Target) -> Result<Usage, NoUsage> {
    ask(target, now_ms()).await
}

#[tokio::test]
async fn one_redis_tells_what_is_used_and_what_there_is_to_do() {
    let servers = [Server::start(format!("{}.1", free_net()), acl::MONITOR, &["--maxmemory", "64mb"])];
    let target = target(Topology::Standalone, &servers);
    let connection = connect(Endpoint::Standalone { address: servers[0].address() });
    let (store, queue) = (Store::new(connection.clone()), Queue::new(connection));
    let empty = look(&target).await.unwrap();
    assert_eq!((empty.keys, empty.jobs, empty.totals.hit_rate), (0, keystead_usage::Jobs::default(), None));
    assert_eq!((empty.totals.max_memory_bytes, empty.totals.replication_lag_bytes), (64 << 20, None));

    for number in 0..20 {
        put(&store, &format!("key-{number}"), Ttl::Forever).await;
    }
    put(&store, "gone soon", Ttl::Seconds(1)).await;
    store.get("key-1").await.unwrap();
    let job = NewJob::new("kv.export", "null");
    queue.enqueue(&job).await.unwrap();
    // The first one is running; the others wait, also one whose time has come and that no worker has seen.
    let claims = Claims::new(&queue, "worker-1".into(), Duration::from_secs(30));
    assert_eq!(claims.fetch(1).await.unwrap().0.len(), 1);
    let began = now_ms();
    for when in [When::Now, When::After(Duration::from_millis(1)), When::After(Duration::from_hours(1))] {
        queue.enqueue(&NewJob { when, priority: 2, ..job.clone() }).await.unwrap();
    }
    let limit = Instant::now() + Duration::from_secs(90);
    let used = loop {
        let used = look(&target).await.unwrap();
        if (used.keys, used.jobs.waiting, used.jobs.running) == (20, 2, 1) {
            break used;
        }
        assert!(Instant::now() < limit, "a key expires and a job becomes due; last seen: {used:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(used.expired, 1, "nobody has swept");
    assert!(used.totals.hit_rate.is_some() && used.totals.connections > 0, "{used:?}");
    let oldest = used.jobs.oldest.unwrap();
    assert!((began - 1000..=now_ms() + 1000).contains(&oldest), "{oldest} {began}");
    assert!(used.jobs.next.unwrap() <= now_ms() + 1000, "one is due");
}

#[tokio::test]
async fn who_does_not_answer_or_may_not_be_asked_is_no_half_of_an_answer() {
    let net = free_net();
    let servers = [Server::start(format!("{net}.1"), "resetkeys resetchannels -@all +ping +info", &[])];
    let refused = look(&target(Topology::Standalone, &servers)).await.unwrap_err().to_string();
    assert!(refused.contains("the queue cannot be seen") && refused.contains("no permissions"), "{refused}");
    let nobody = Target {
        addresses: vec![("redis".into(), format!("{net}.2"))],
        ..target(Topology::Standalone, &servers)
    };
    assert!(matches!(look(&nobody).await, Err(NoUsage::Redis(_))));
}

#[tokio::test]
async fn the_shards_of_a_cluster_are_seen_as_one() {
    let net = free_net();
    let rules = format!("{} {MONITOR}", acl::MONITOR);
    let servers: Vec<Server> = (1..=3)
        .map(|host| {
            let ip = format!("{net}.{host}");
            let options = ["--cluster-enabled", "yes", "--cluster-announce-ip", &ip];
            Server::start(ip.clone(), &rules, &options)
        })
        .collect();
    for server in &servers[1..] {
        servers[0].tell(&format!("CLUSTER MEET {} 6379", server.ip));
    }
    for (server, slots) in servers.iter().zip(["0 5460", "5461 10921", "10922 16383"]) {
        assert_eq!(server.tell(&format!("CLUSTER ADDSLOTSRANGE {slots}")), "OK");
    }
    until("all know all slots", || {
        servers.iter().all(|it| it.tell("CLUSTER INFO").contains("cluster_state:ok"))
    });
    let target = target(Topology::Cluster, &servers);
    let shards = servers.iter().map(|it| vec![it.address()]).collect();
    let connection = connect(Endpoint::Cluster { shards });
    let (store, queue) = (Store::new(connection.clone()), Queue::new(connection));
    for number in 0..200 {
        put(&store, &format!("key-{number}"), Ttl::Forever).await;
    }
    for _ in 0..3 {
        queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    }
    let used = look(&target).await.unwrap();
    assert_eq!((used.keys, used.jobs.waiting), (200, 3));
    let alone = servers[0].tell("INFO memory");
    let alone =
        alone.lines().find_map(|it| it.trim().strip_prefix("used_memory:")?.parse::<u64>().ok()).unwrap();
    assert!(used.totals.memory_bytes > alone, "{} {alone}", used.totals.memory_bytes);
}
