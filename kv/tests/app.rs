//! What a tenant's own clients may do, on real Redis and Sentinels: what is theirs, as their libraries ask for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

use keystead_kv::acl;
use keystead_route::Endpoint;
use keystead_tests::{cluster::Cluster, redis::Server, replicated::Replicated};
use redis::{Client, Connection, RedisResult, Value};

const PASSWORD: &str = "word";

fn user(rules: &[&str]) -> String {
    format!("user app on >{PASSWORD} {}", rules.join(" "))
}

fn connect(address: &str) -> Connection {
    Client::open(format!("redis://app:{PASSWORD}@{address}/")).unwrap().get_connection().unwrap()
}

/// A question as it is typed; a word in it has no blanks.
fn ask(connection: &mut Connection, question: &str) -> RedisResult<Value> {
    let mut words = question.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    command.query(connection)
}

fn is_refused(answer: &RedisResult<Value>) -> bool {
    answer.as_ref().is_err_and(|error| error.code() == Some("NOPERM"))
}

fn all_answered(connection: &mut Connection, questions: &[&str]) {
    for question in questions {
        let answer = ask(connection, question);
        assert!(answer.is_ok(), "{question}: {answer:?}");
    }
}

fn all_refused(connection: &mut Connection, questions: &[&str]) {
    for question in questions {
        let answer = ask(connection, question);
        assert!(is_refused(&answer), "{question}: {answer:?}");
    }
}

/// As redis-py, go-redis, ioredis and Lettuce begin.
const BEGINNING: [&str; 6] = [
    "HELLO 3 AUTH app word SETNAME shop",
    "CLIENT SETNAME shop",
    "CLIENT ID",
    "PING",
    "INFO",
    "COMMAND COUNT",
];

#[test]
fn they_do_with_keys_of_their_own_what_redis_is_for() {
    let server = Server::with_users(&[&user(&[acl::APP])]);
    let mut app = connect(&server.address());
    all_answered(&mut app, &BEGINNING);
    all_answered(
        &mut app,
        &[
            "SET app:a 1 EX 60",
            "GET app:a",
            "INCR app:a",
            "HSET app:h f v",
            "LPUSH app:l a",
            "SADD app:s a",
            "ZADD app:z 1 a",
            "XADD app:x * f v",
            "XGROUP CREATE app:x readers 0",
            "XREADGROUP GROUP readers one COUNT 1 STREAMS app:x >",
            "GEOADD app:g 1 1 a",
            "PFADD app:p a",
            "SETBIT app:b 1 1",
            "EXPIRE app:h 60",
            "OBJECT ENCODING app:a",
            "RENAME app:s app:t",
            "PUBLISH app:news a",
            "WAIT 0 1",
            "TIME",
            "DBSIZE",
            "MULTI",
            "SET app:a 5",
            "GET app:a",
            "EXEC",
            "UNLINK app:t",
        ],
    );
}

#[test]
fn what_is_others_they_neither_read_nor_see_nor_stop() {
    let server = Server::with_users(&[&user(&[acl::APP])]);
    for key in ["kv:{0}:e:a", "auth:{a}:user", "jobs:{j}:ready", "audit:{a}"] {
        server.cli(&["SET", key, "1"]);
    }
    let mut app = connect(&server.address());
    all_refused(
        &mut app,
        &[
            "GET kv:{0}:e:a",
            "SET kv:{0}:e:a 2",
            "GET auth:{a}:user",
            "DEL jobs:{j}:ready",
            "GET audit:{a}",
            "GET other",
            "COPY kv:{0}:e:a app:a",
            "RENAME app:a kv:a",
            "PUBLISH jobs:{j} a",
            "SSUBSCRIBE jobs:{j}",
            "KEYS *",
            "SCAN 0",
            "RANDOMKEY",
            "CLIENT TRACKING ON BCAST",
            "CLIENT LIST",
            "CLIENT KILL TYPE normal",
            "CLIENT PAUSE 1000",
            "MONITOR",
            "FLUSHALL",
            "FLUSHDB",
            "SWAPDB 0 1",
            "CONFIG GET *",
            "ACL LIST",
            "ACL SETUSER app +@all",
            "EVAL return(1) 0",
            "EVALSHA 0000 0",
            "SCRIPT LOAD return(1)",
            "FUNCTION LOAD code",
            "FUNCTION FLUSH",
            "SCRIPT FLUSH",
            "SCRIPT KILL",
            "SHUTDOWN NOSAVE",
            "REPLICAOF 127.0.0.1 1",
            "SORT app:l BY kv:* GET kv:*",
            "MIGRATE 127.0.0.1 1 app:a 0 1",
            "MODULE LIST",
        ],
    );
    for channels in ["SUBSCRIBE jobs:{j}", "PSUBSCRIBE *", "PSUBSCRIBE app:news:*"] {
        let subscribed = ask(&mut app, channels);
        assert!(is_refused(&subscribed), "{channels}: {subscribed:?}");
    }
    assert_eq!(server.cli(&["GET", "kv:{0}:e:a"]), "1", "nothing was done");
    all_answered(&mut connect(&server.address()), &["PSUBSCRIBE app:*"]);
}

#[test]
fn sentinels_tell_them_who_the_primary_is_and_take_no_orders() {
    let sentinel = user(&[acl::SENTINEL_CLIENT, acl::APP_SENTINEL]);
    let group = Replicated::start(3, &[&user(&[acl::APP])], &[&sentinel]);
    let Endpoint::Replicated { primary_name, sentinels, .. } = group.endpoint() else { unreachable!() };
    let mut app = connect(&sentinels[1]);
    let asked = ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "SLAVES", "SENTINELS"];
    let asked = asked.map(|what| format!("SENTINEL {what} {primary_name}"));
    all_answered(&mut app, &asked.each_ref().map(String::as_str));
    all_answered(&mut app, &["PING", "SENTINEL MASTERS"]);
    let orders = ["FAILOVER", "REMOVE", "RESET", "SET"].map(|what| {
        let rest = if what == "SET" { " quorum 1" } else { "" };
        format!("SENTINEL {what} {primary_name}{rest}")
    });
    all_refused(&mut app, &orders.each_ref().map(String::as_str));
    all_refused(&mut app, &["ACL LIST", "SHUTDOWN", "PUBLISH +switch-master a", "SENTINEL CONFIG GET *"]);
    all_answered(&mut connect(&sentinels[0]), &["SUBSCRIBE +switch-master +replica-reconf-done"]);
    all_answered(&mut connect(&sentinels[2]), &["PSUBSCRIBE *"]);

    let primary = group.until("a primary", Replicated::primary);
    let mut app = connect(&group.address(primary));
    all_answered(&mut app, &BEGINNING);
    all_answered(&mut app, &["SET app:a 1", "GET app:a"]);
    all_refused(&mut app, &["GET kv:{0}:e:a", "REPLICAOF NO ONE", "FAILOVER"]);
}

#[test]
fn the_members_of_a_cluster_tell_them_who_has_which_keys() {
    let cluster = Cluster::start(3, 0, 1, &[&user(&[acl::APP, acl::APP_CLUSTER])]);
    let mut app = connect(&cluster.address(0));
    all_answered(&mut app, &BEGINNING);
    all_answered(
        &mut app,
        &[
            "CLUSTER SLOTS",
            "CLUSTER SHARDS",
            "CLUSTER NODES",
            "CLUSTER MYID",
            "CLUSTER INFO",
            "READONLY",
            "READWRITE",
            "ASKING",
        ],
    );
    all_refused(
        &mut app,
        &["CLUSTER FAILOVER", "CLUSTER RESET", "CLUSTER FORGET a", "GET kv:{0}:e:a", "SCAN 0"],
    );
    let written = (0..3).any(|shard| ask(&mut connect(&cluster.address(shard * 2)), "SET app:a 1").is_ok());
    assert!(written, "one of them has the key");
    let moved = (0..3).filter_map(|shard| ask(&mut connect(&cluster.address(shard * 2)), "GET app:a").err());
    for error in moved {
        assert_eq!(error.code(), Some("MOVED"), "{error:?}");
    }
}
