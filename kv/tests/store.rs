//! The store on a real Redis, as the ACL user that the gateway is.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use keystead_kv::{
    Condition, ConnectOptions, Connection, Error, JSON, Outcome, Put, Select, Store, Ttl, Written, acl,
};
use keystead_route::Endpoint;
use keystead_tests::redis::Server;

const PASSWORD: &str = "word-of-the-gateway";

fn server() -> Server {
    Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
        &format!("user monitor on >{PASSWORD} {}", acl::MONITOR),
    ])
}

fn connect(server: &Server, user: Option<&str>) -> Connection {
    let password = user.map(|_| PASSWORD.into());
    let endpoint = Endpoint::Standalone { address: server.address() };
    Connection::open(ConnectOptions::new(endpoint, user.map(str::to_owned), password)).unwrap()
}

fn store(server: &Server) -> Store {
    Store::new(connect(server, Some("gateway")))
}

fn put(value: &str) -> Put {
    Put {
        value: Bytes::copy_from_slice(value.as_bytes()),
        content_type: JSON.into(),
        tags: BTreeMap::new(),
        ttl: Ttl::Forever,
    }
}

fn done<T>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Done(done) => done,
        Outcome::Refused { exists } => panic!("refused; exists: {exists}"),
    }
}

async fn write(store: &Store, key: &str, value: &str) -> Written {
    done(store.put(key, &put(value), &Condition::Any).await.unwrap())
}

#[tokio::test]
async fn a_value_comes_back_as_it_went_in_with_its_metadata() {
    let server = server();
    let store = store(&server);
    let tags: BTreeMap<String, String> =
        [("colour".into(), "red".into()), ("größe".into(), String::new())].into();
    let value = Bytes::from_static(b"\x00\xff\r\n{\"n\":12345678901234567890.10}");
    let content_type = "application/octet-stream".to_owned();
    let put = Put { value: value.clone(), content_type, tags: tags.clone(), ttl: Ttl::Seconds(60) };
    let written = done(store.put("a/b {c} ü", &put, &Condition::Any).await.unwrap());
    assert!(written.created_new && written.version == 1 && written.created == written.updated, "{written:?}");
    let entry = store.get("a/b {c} ü").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.metadata.tags), (value, tags));
    assert_eq!(entry.metadata.expires, written.expires);
    let left = store.ttl("a/b {c} ü").await.unwrap().unwrap().unwrap();
    assert!((59_000..=60_000).contains(&left), "{left} ms");
    assert_eq!(store.get("a/b").await.unwrap(), None);

    let again = write(&store, "a/b {c} ü", "2").await;
    assert!(!again.created_new && again.version == 2 && again.created == written.created, "{again:?}");
    assert!(again.updated > written.updated);
    assert_eq!(store.ttl("a/b {c} ü").await.unwrap(), Some(None));
}

#[tokio::test]
async fn a_write_happens_only_where_its_condition_holds() {
    let server = server();
    let store = store(&server);
    let absent = store.put("k", &put("1"), &Condition::Present).await.unwrap();
    assert_eq!(absent, Outcome::Refused { exists: false });
    let first = write(&store, "k", "1").await;
    let taken = store.put("k", &put("2"), &Condition::Absent).await.unwrap();
    assert_eq!(taken, Outcome::Refused { exists: true });
    let first_tag = store.get("k").await.unwrap().unwrap().metadata.entity_tag();
    let second = done(store.put("k", &put("2"), &Condition::Matches(vec![first_tag])).await.unwrap());
    assert_eq!(second.version, first.version + 1);
    let stale = store.put("k", &put("3"), &Condition::Matches(vec![first_tag])).await.unwrap();
    assert_eq!(stale, Outcome::Refused { exists: true });
    assert_eq!(
        store.delete("k", &Condition::Matches(vec![first_tag])).await.unwrap(),
        Outcome::Refused { exists: true }
    );
    assert_eq!(store.delete("k", &Condition::Any).await.unwrap(), Outcome::Done(()));
    assert_eq!(store.delete("k", &Condition::Any).await.unwrap(), Outcome::Refused { exists: false });

    // Made anew it has version 1 again, but not the old tag.
    write(&store, "k", "1").await;
    let reborn = store.get("k").await.unwrap().unwrap().metadata;
    assert_eq!(reborn.version, 1);
    assert_ne!(reborn.entity_tag(), first_tag);
    let old = store.put("k", &put("4"), &Condition::Matches(vec![first_tag])).await.unwrap();
    assert_eq!(old, Outcome::Refused { exists: true });
}

#[tokio::test]
async fn concurrent_writers_that_compare_lose_no_update() {
    let server = server();
    let store = store(&server);
    write(&store, "counter", "0").await;
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    loop {
                        let entry = store.get("counter").await.unwrap().unwrap();
                        let number: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                        let condition = Condition::Matches(vec![entry.metadata.entity_tag()]);
                        let outcome =
                            store.put("counter", &put(&(number + 1).to_string()), &condition).await.unwrap();
                        if matches!(outcome, Outcome::Done(_)) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let entry = store.get("counter").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.metadata.version), (&b"400"[..], 401));
}

#[tokio::test]
async fn lists_are_in_byte_order_and_the_same_wherever_they_begin() {
    let server = server();
    let store = store(&server);
    let mut keys: Vec<String> = (0..450).map(|n| format!("p:{n}")).collect();
    keys.extend(["a".to_owned(), "q".to_owned(), "p".to_owned(), "p;".to_owned(), "pü".to_owned()]);
    for key in &keys {
        write(&store, key, "1").await;
    }
    keys.sort();
    let all = store.list("", Select::Offset(0), 1000).await.unwrap();
    assert_eq!(all.items.iter().map(|(key, _)| key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert_eq!((all.total, all.next_after), (455, None));

    let page = store.list("p:", Select::Offset(440), 300).await.unwrap();
    assert_eq!((page.items.len(), page.total, page.next_after), (10, 450, None));
    let mut walked = Vec::new();
    let mut after = String::new();
    loop {
        let part = store.list("p", Select::After(&after), 7).await.unwrap();
        walked.extend(part.items.into_iter().map(|(key, _)| key));
        match part.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    let with_prefix: Vec<String> = keys.into_iter().filter(|key| key.starts_with('p')).collect();
    assert_eq!(walked, with_prefix);
    let beyond = store.list("", Select::Offset(9999), 10).await.unwrap();
    assert_eq!((beyond.items.len(), beyond.total), (0, 455));
}

#[tokio::test]
async fn expired_keys_are_not_counted_or_listed_and_leave_no_trace_behind() {
    let server = server();
    let store = store(&server);
    let tags: BTreeMap<String, String> = [("t".into(), "v".into())].into();
    for n in 0..700 {
        let put = Put { ttl: Ttl::Seconds(1), tags: tags.clone(), ..put("1") };
        done(store.put(&format!("short-{n}"), &put, &Condition::Any).await.unwrap());
    }
    done(store.put("long", &Put { tags, ..put("1") }, &Condition::Any).await.unwrap());
    let started = Instant::now();
    while store.exists("short-699").await.unwrap() {
        assert!(started.elapsed() < Duration::from_secs(5), "it does not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Before any sweep.
    assert_eq!(store.count().await.unwrap(), 1);
    let listing = store.list("", Select::Offset(0), 10).await.unwrap();
    assert_eq!((listing.total, listing.items.len()), (1, 1));
    assert_eq!(store.sweep(10_000).await.unwrap(), 0, "the list has swept already");
    let reborn = write(&store, "short-1", "1").await;
    assert!(reborn.created_new && reborn.version == 1, "{reborn:?}");
    store.delete("short-1", &Condition::Any).await.unwrap();
    store.delete("long", &Condition::Any).await.unwrap();
    // Redis itself frees expired entries a little later.
    let started = Instant::now();
    loop {
        let info = info(&server, "Keyspace").await;
        if !info.contains("db0") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "keys are left behind: {info}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// INFO as the monitor user, who may do that and nothing else.
async fn info(server: &Server, section: &str) -> String {
    let client = redis::Client::open(format!("redis://monitor:{PASSWORD}@{}", server.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let refused: Result<Vec<String>, _> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await;
    assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
    redis::cmd("INFO").arg(section).query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_killed_redis_fails_at_once_and_comes_back_with_all_that_was_acknowledged() {
    let mut server = Server::durable();
    let store = Store::new(connect(&server, None));
    for n in 0..100 {
        write(&store, &format!("key-{n}"), "1").await;
    }
    server.kill();
    for _ in 0..3 {
        let error = store.get("key-1").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    let error = store.put("key-1", &put("2"), &Condition::Any).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "nothing was sent: {error:?}");
    server.revive();
    // The very first command works, and the script is unknown to the new process.
    let written = write(&store, "key-1", "2").await;
    assert_eq!(written.version, 2);
    assert_eq!(store.count().await.unwrap(), 100);
}

#[tokio::test]
async fn a_paused_redis_is_told_from_a_dead_one_and_a_write_from_a_read() {
    let server = server();
    let store = store(&server);
    write(&store, "k", "1").await;
    server.pause();
    let read = store.get("k").await.unwrap_err();
    assert!(matches!(read, Error::DeadlineExceeded), "{read:?}");
    let written = store.put("k", &put("2"), &Condition::Any).await.unwrap_err();
    assert!(matches!(written, Error::OutcomeUnknown), "{written:?}");
    server.resume();
    let started = Instant::now();
    while let Err(error) = store.get("k").await {
        assert!(started.elapsed() < Duration::from_secs(5), "{error:?}");
    }
}

#[tokio::test]
async fn a_full_redis_says_so_and_still_reads_and_deletes() {
    let server = Server::with(&["--save", "", "--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let store = Store::new(connect(&server, None));
    let big = "x".repeat(200_000);
    let mut written = 0;
    let error = loop {
        match store.put(&format!("k{written}"), &put(&big), &Condition::Any).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "maxmemory does not hold");
    };
    assert!(matches!(error, Error::Full), "{error:?}");
    assert_eq!(store.get("k0").await.unwrap().unwrap().value.len(), big.len());
    assert_eq!(store.delete("k0", &Condition::Any).await.unwrap(), Outcome::Done(()));
}

/// What frees memory inside a write must not open the door for what takes it.
#[tokio::test]
async fn a_full_redis_takes_no_write_that_also_cleans_up() {
    let server = Server::with(&["--save", "", "--maxmemory", "6mb", "--maxmemory-policy", "noeviction"]);
    let store = Store::new(connect(&server, None));
    let tags: BTreeMap<String, String> = [("t".into(), "v".into())].into();
    for n in 0..30 {
        let tagged = Put { tags: tags.clone(), ..put("1") };
        done(store.put(&format!("tagged-{n}"), &tagged, &Condition::Any).await.unwrap());
    }
    for n in 0..100 {
        let short = Put { ttl: Ttl::Seconds(1), ..put("1") };
        done(store.put(&format!("short-{n}"), &short, &Condition::Any).await.unwrap());
    }
    let started = Instant::now();
    while store.exists("short-99").await.unwrap() {
        assert!(started.elapsed() < Duration::from_secs(5), "it does not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let big = put(&"x".repeat(1_000_000));
    let mut accepted = 0;
    for n in 0..30 {
        for key in [format!("tagged-{n}"), format!("new-{n}")] {
            match store.put(&key, &big, &Condition::Any).await {
                Ok(_) => accepted += 1,
                Err(error) => assert!(matches!(error, Error::Full), "{error:?}"),
            }
        }
    }
    assert!(accepted <= 6, "{accepted} MB were written into 6 MB");
    assert_eq!(store.delete("tagged-29", &Condition::Any).await.unwrap(), Outcome::Done(()));
}

#[tokio::test]
async fn the_worker_cannot_touch_accounts() {
    let server = server();
    let client = redis::Client::open(format!("redis://worker:{PASSWORD}@{}", server.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for command in ["GET", "DEL", "HGETALL"] {
        let refused: Result<redis::Value, _> =
            redis::cmd(command).arg("auth:{a}:user:ada").query_async(&mut connection).await;
        assert_eq!(refused.unwrap_err().code(), Some("NOPERM"), "{command}");
    }
    let sneaky = "return redis.call('GET', 'auth:{a}:user:ada')";
    let sha: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(sneaky).query_async(&mut connection).await.unwrap();
    let refused: Result<redis::Value, _> =
        redis::cmd("EVALSHA").arg(sha).arg(0).query_async(&mut connection).await;
    assert!(refused.is_err(), "a script reached an account");
    assert!(Store::new(connect(&server, Some("worker"))).count().await.is_ok());
}
