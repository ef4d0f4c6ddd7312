//! Several Redis and their Sentinels: the primary dies, hangs, or hands over, while clients write.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use common::{
    put,
    replicated::{Writers, connect, group, options, patient},
    until, write,
};
use keystead_kv::{Condition, Connection, Error, Filter, Observer, Operation, Replication, Select, Store};
use keystead_route::{Durability, Endpoint};
use keystead_tests::replicated::Replicated;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_loses_nothing_that_was_acknowledged() {
    let mut group = group();
    let store = Store::new(patient(options(group.endpoint(), Durability::Replicated)));
    let writers = Writers::start(&store, 8).await;
    let old = group.until_settled();
    group.kill(old);
    let takes_writes = |group: &Replicated| {
        let others = (0..3).filter(|member| *member != old);
        others.into_iter().any(|member| group.cli(member, &["SET", "probe", "1"]) == "OK").then(Instant::now)
    };
    let writable = group.until("a primary that takes writes", takes_writes);
    writers.more(500).await;
    let written = writers.end().await;
    written.say("primary killed, Replicated");
    let ours = written.resumed.unwrap().saturating_duration_since(writable);
    eprintln!("of that after the new primary has taken a write of redis-cli: {ours:?}");
    written.is_all_there(&store).await;
    assert!(
        written.errors.iter().all(|error| matches!(error, Error::OutcomeUnknown)),
        "{:?}",
        written.errors
    );
    assert!(written.errors.len() <= 8, "only what was under way: {:?}", written.errors);
    group.revive(old);
    group.until_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_hand_over_fails_no_request() {
    let group = group();
    for durability in [Durability::Async, Durability::Replicated] {
        let store = Store::new(patient(options(group.endpoint(), durability)));
        let writers = Writers::start(&store, 8).await;
        for _ in 0..3 {
            group.hand_over();
            writers.more(200).await;
        }
        let written = writers.end().await;
        written.say(&format!("three hand-overs, {durability:?}"));
        written.is_all_there(&store).await;
        assert!(written.errors.is_empty(), "{:?}", written.errors);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hung_comes_back_without_taking_anything_away() {
    let group = group();
    let store = Store::new(connect(&group, Durability::Replicated));
    let writers = Writers::start(&store, 8).await;
    let old = group.until_settled();
    group.pause(old);
    group.until("another primary", |group| group.primary().filter(|new| *new != old));
    writers.more(200).await;
    group.resume(old);
    // Sentinel makes it a replica of the new one.
    group.until_settled();
    writers.more(200).await;
    let written = writers.end().await;
    written.say("primary stopped and continued, Replicated");
    written.is_all_there(&store).await;
    let is_honest = |error: &Error| matches!(error, Error::OutcomeUnknown | Error::Unavailable(_));
    assert!(written.errors.iter().all(is_honest), "{:?}", written.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_while_passwords_change_is_let_in_afterwards() {
    let group = group();
    let store = Store::new(connect(&group, Durability::Replicated));
    write(&store, "k", "1").await;
    let primary = group.until_settled();
    let set = |password: &str| {
        let set = ["ACL", "SETUSER", "gateway", "resetpass", &format!(">{password}")];
        group.until("a password is set", |group| (group.cli(primary, &set) == "OK").then_some(()));
    };
    set("another");
    group.cli(primary, &["CLIENT", "KILL", "USER", "gateway"]);
    let written = tokio::spawn(async move {
        loop {
            match store.put("k", &put("2"), &Condition::Any).await {
                // Sent on the connection that is just being closed.
                Err(Error::OutcomeUnknown) => {}
                other => return other,
            }
        }
    });
    group.until("it is refused", |group| group.cli(primary, &["ACL", "LOG"]).contains("auth").then_some(()));
    set(common::PASSWORD);
    assert!(written.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sentinels_the_primary_that_runs_is_used() {
    let mut group = group();
    let connection = connect(&group, Durability::Replicated);
    let store = Store::new(connection.clone());
    write(&store, "k", "1").await;
    (0..3).for_each(|sentinel| group.kill_sentinel(sentinel));
    write(&store, "k", "2").await;
    // Also after nobody has asked for a while; but who never knew it learns of nobody.
    assert!(!connection.close_idle() && connection.close_idle());
    write(&store, "k", "3").await;
    let stranger = Store::new(connect(&group, Durability::Replicated));
    let error = stranger.get("k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_hangs_lies_or_is_behind_changes_nothing() {
    let mut group = group();
    let old = group.until_settled();
    let stranger = keystead_tests::redis::Server::start();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = sentinel_that_names(&group.address(old), 0).await;
    let liar = sentinel_that_names(&stranger.address(), 1_000_000).await;
    let Endpoint::Replicated { primary_name, mut sentinels, members, readers } = group.endpoint() else {
        panic!("not replicated")
    };
    sentinels.extend([silent.local_addr().unwrap().to_string(), behind, liar]);
    let endpoint = Endpoint::Replicated { primary_name, sentinels, members, readers };
    let connection = Connection::open(options(endpoint, Durability::Replicated)).unwrap();
    let store = Store::new(connection.clone());
    let writers = Writers::start(&store, 4).await;
    group.kill(old);
    writers.more(200).await;
    let written = writers.end().await;
    written.say("primary killed; of six Sentinels one hangs, one lies, one is behind");
    written.is_all_there(&store).await;
    // The old one is back, follows the new one, and the one that is behind still names it.
    group.revive(old);
    let new = group.until_settled();
    write(&store, "k", "1").await;
    let primary = connection.info("replication").await.remove(0).primary;
    assert_eq!(primary.as_deref(), Some(&*group.address(new)));
    assert_eq!(stranger.cli(&["DBSIZE"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_does_not_outlive_a_failover() {
    let mut group = group();
    let mut with_cache = options(group.endpoint(), Durability::Replicated);
    with_cache.cache_bytes = 1 << 20;
    let reader = Store::new(Connection::open(with_cache).unwrap());
    let writer = Store::new(connect(&group, Durability::Replicated));
    write(&writer, "k", "1").await;
    until("it is kept", async || reader.read("k").await.is_ok_and(|read| read.was_cached == Some(true)))
        .await;
    let old = group.until_settled();
    group.kill(old);
    until("a write", async || writer.put("k", &put("2"), &Condition::Any).await.is_ok()).await;
    let value = async || reader.read("k").await.ok()?.entry.map(|entry| entry.value.clone());
    until("the new value", async || value().await.as_deref() == Some(b"2")).await;
    until("it is kept", async || reader.read("k").await.is_ok_and(|read| read.was_cached == Some(true)))
        .await;
    write(&writer, "k", "3").await;
    until("a change that the new primary tells of", async || value().await.as_deref() == Some(b"3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_answers_reads_and_the_primary_where_none_may() {
    let group = group();
    let counts = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let counted = counts.clone();
    let mut options = options(group.endpoint(), Durability::Replicated);
    options.observer = Observer::new(move |what| match what {
        Replication::ReplicaRead => drop(counted[0].fetch_add(1, Ordering::Relaxed)),
        Replication::ReplicaFallback => drop(counted[1].fetch_add(1, Ordering::Relaxed)),
        _ => {}
    });
    let seen = || counts.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
    let store = Store::new(Connection::open(options).unwrap());
    let near = store.clone().from_replica();
    write(&store, "k", "1").await;
    until("a replica has it", async || near.read("k").await.unwrap().entry.is_some()).await;
    seen();
    for _ in 0..10 {
        assert_eq!(near.read("k").await.unwrap().entry.unwrap().value, "1");
    }
    let listing = near.list(Filter::default(), Select::Offset(0), 10).await.unwrap();
    assert_eq!((listing.total, listing.items.len()), (1, 1));
    assert_eq!(seen(), [11, 0]);
    // One that follows somebody else, and one that hangs.
    let primary = group.until_settled();
    let others: Vec<usize> = (0..3).filter(|member| *member != primary).collect();
    group.cli(others[0], &["REPLICAOF", "127.0.0.1", "1"]);
    group.pause(others[1]);
    for _ in 0..6 {
        assert_eq!(near.read("k").await.unwrap().entry.unwrap().value, "1");
    }
    assert_eq!(seen(), [0, 6]);
    group.resume(others[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_group_that_nobody_asks() {
    let group = group();
    let open = |group: &Replicated| -> usize {
        let lists = (0..3).flat_map(|member| {
            [group.cli(member, &["CLIENT", "LIST"]), group.ask_sentinel(member, &["CLIENT", "LIST"])]
        });
        lists.map(|list| list.matches("user=gateway").count()).sum()
    };
    let connection = connect(&group, Durability::Replicated);
    assert_eq!(open(&group), 0, "nothing before the first use");
    let store = Store::new(connection.clone());
    write(&store, "k", "1").await;
    assert!(open(&group) >= 4, "each Sentinel, and the primary");
    assert!(!connection.close_idle(), "it was just used");
    assert!(connection.close_idle() && !connection.close_idle());
    group.until("nobody is there", |group| (open(group) == 0).then_some(()));
    write(&store, "k", "2").await;
    drop((store, connection));
    group.until("nobody is there", |group| (open(group) == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_redis_cannot_confirm_is_refused_before_it_is_written() {
    let server = common::server();
    let single = Endpoint::Standalone { address: server.address() };
    let group = group();
    for endpoint in [single, group.endpoint()] {
        let store = Store::new(Connection::open(options(endpoint, Durability::Fsync)).unwrap());
        let error = store.put("k", &put("1"), &Condition::Any).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(why) if why.contains("Redis 7.2")), "{error:?}");
        assert!(store.get("k").await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_confirmed_as_a_whole_and_says_so_where_it_is_not() {
    let group = group();
    let store = Store::new(connect(&group, Durability::Replicated));
    let operations: Vec<Operation> = (0..120)
        .map(|number| Operation::Put { key: format!("k{number}"), put: put("1") })
        .chain([Operation::Get { key: "k7".into() }, Operation::Delete { key: "k8".into() }])
        .collect();
    let done = store.batch(&operations).await.unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let primary = group.until_settled();
    (0..3).filter(|member| *member != primary).for_each(|member| group.pause(member));
    let unconfirmed = store.put("k", &put("1"), &Condition::Any).await.unwrap_err();
    assert!(matches!(unconfirmed, Error::OutcomeUnknown), "{unconfirmed:?}");
    assert!(store.exists("k").await.unwrap(), "the primary has it");
    (0..3).filter(|member| *member != primary).for_each(|member| group.resume(member));
}

/// Answers whoever asks with the same primary and version, as a Sentinel does.
async fn sentinel_that_names(address: &str, epoch: u64) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let named = format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len());
    let epoch = epoch.to_string();
    let state = format!("*2\r\n$12\r\nconfig-epoch\r\n${}\r\n{epoch}\r\n", epoch.len());
    let subscribed = ">3\r\n+subscribe\r\n+switch-master\r\n:1\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (named, state) = (named.clone(), state.clone());
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut asked).await {
                    let text = String::from_utf8_lossy(&asked[..length]).into_owned();
                    let answers = [
                        ("HELLO", "%1\r\n+proto\r\n:3\r\n"),
                        ("SUBSCRIBE", subscribed),
                        ("GET-MASTER-ADDR-BY-NAME", named.as_str()),
                        ("\r\nMASTER\r\n", state.as_str()),
                    ];
                    for (_, answer) in answers.iter().filter(|(command, _)| text.contains(command)) {
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    own
}
