//! The store on a real Redis, as the ACL user that the gateway is.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use keystead_kv::{
    Condition, ConnectOptions, Connection, Done, Error, Filter, JSON, NotIncremented, Operation, Outcome,
    Put, Select, Store, Ttl, Written, acl,
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
    let all = store.list(Filter::with_prefix(""), Select::Offset(0), 1000).await.unwrap();
    assert_eq!(all.items.iter().map(|(key, _)| key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert_eq!((all.total, all.next_after), (455, None));

    let page = store.list(Filter::with_prefix("p:"), Select::Offset(440), 300).await.unwrap();
    assert_eq!((page.items.len(), page.total, page.next_after), (10, 450, None));
    let mut walked = Vec::new();
    let mut after = String::new();
    loop {
        let part = store.list(Filter::with_prefix("p"), Select::After(&after), 7).await.unwrap();
        walked.extend(part.items.into_iter().map(|(key, _)| key));
        match part.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    let with_prefix: Vec<String> = keys.into_iter().filter(|key| key.starts_with('p')).collect();
    assert_eq!(walked, with_prefix);
    let beyond = store.list(Filter::with_prefix(""), Select::Offset(9999), 10).await.unwrap();
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
    let listing = store.list(Filter::with_prefix(""), Select::Offset(0), 10).await.unwrap();
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

#[tokio::test]
async fn a_number_is_added_to_exactly_and_by_many_at_once() {
    let server = server();
    let store = store(&server);
    let first = store.increment("n", 5, Ttl::Seconds(100)).await.unwrap().unwrap();
    assert_eq!((first.value, first.written.version, first.written.created_new), (5, 1, true));
    let left = store.ttl("n").await.unwrap().unwrap().unwrap();
    assert!((99_000..=100_000).contains(&left), "a new number has the time to live that was given: {left}");

    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    store.increment("n", 2, Ttl::Forever).await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let entry = store.get("n").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.metadata.version), (&b"1005"[..], 501));
    assert!(entry.metadata.expires.is_some(), "and keeps it");

    let down = store.increment("n", -2000, Ttl::Forever).await.unwrap().unwrap();
    assert_eq!(down.value, -995);
    for (value, why) in [
        ("\"text\"", NotIncremented::NotANumber),
        ("1.5", NotIncremented::NotANumber),
        ("1e3", NotIncremented::NotANumber),
        ("9007199254740991", NotIncremented::TooLarge),
        ("123456789012345678901234567890", NotIncremented::TooLarge),
    ] {
        write(&store, "other", value).await;
        assert_eq!(store.increment("other", 1, Ttl::Forever).await.unwrap(), Err(why), "{value}");
        assert_eq!(&store.get("other").await.unwrap().unwrap().value[..], value.as_bytes());
    }
    write(&store, "edge", "9007199254740990").await;
    assert_eq!(store.increment("edge", 1, Ttl::Forever).await.unwrap().unwrap().value, 9_007_199_254_740_991);
}

#[tokio::test]
async fn a_time_to_live_is_changed_without_a_new_version() {
    let server = server();
    let store = store(&server);
    let written = write(&store, "k", "1").await;
    assert!(store.set_ttl("k", Ttl::Seconds(1)).await.unwrap());
    let entry = store.get("k").await.unwrap().unwrap();
    assert_eq!((entry.metadata.version, entry.metadata.updated), (written.version, written.updated));
    assert!(entry.metadata.expires.is_some());
    assert!(store.set_ttl("k", Ttl::Forever).await.unwrap());
    assert_eq!(store.ttl("k").await.unwrap(), Some(None));
    assert_eq!(store.get("k").await.unwrap().unwrap().metadata.expires, None);
    assert!(!store.set_ttl("absent", Ttl::Seconds(1)).await.unwrap());
    assert!(!store.exists("absent").await.unwrap());

    // What is kept is kept to the millisecond, and what expires leaves no trace.
    store.set_ttl("k", Ttl::Seconds(1)).await.unwrap();
    let expires = store.get("k").await.unwrap().unwrap().metadata.expires;
    let kept = Put { ttl: Ttl::Keep, ..put("2") };
    assert_eq!(done(store.put("k", &kept, &Condition::Any).await.unwrap()).expires, expires);
    while store.exists("k").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.count().await.unwrap(), 0);
    assert_eq!(done(store.put("k", &kept, &Condition::Any).await.unwrap()).expires, None);
}

#[tokio::test]
async fn a_list_by_tags_has_those_with_all_of_them() {
    let server = server();
    let store = store(&server);
    let tags = |colour: usize, size: usize| -> BTreeMap<String, String> {
        [("colour".to_owned(), colour.to_string()), ("size".to_owned(), size.to_string())].into()
    };
    for at in 0..1300 {
        let put = Put { tags: tags(at % 2, at % 3), ..put("1") };
        store.put(&format!("k{at:04}"), &put, &Condition::Any).await.unwrap();
    }
    store.put("other", &Put { tags: tags(0, 0), ..put("1") }, &Condition::Any).await.unwrap();
    let wanted: Vec<(String, String)> = tags(0, 0).into_iter().collect();
    let filter = Filter { prefix: "k", tags: &wanted };
    let expected: Vec<String> = (0..1300).filter(|at| at % 6 == 0).map(|at| format!("k{at:04}")).collect();

    let all = store.list(filter, Select::Offset(0), 1000).await.unwrap();
    assert_eq!(all.items.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), expected);
    assert_eq!((all.total, all.next_after), (expected.len() as u64, None));
    for offset in [1, 100, 210, 216, 217, 5000] {
        let page = store.list(filter, Select::Offset(offset), 7).await.unwrap();
        let keys: Vec<_> = page.items.into_iter().map(|(key, _)| key).collect();
        let skipped: Vec<_> =
            expected.iter().skip(usize::try_from(offset).unwrap()).take(7).cloned().collect();
        assert_eq!((keys, page.total), (skipped, 217), "{offset}");
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let part = store.list(filter, Select::After(&after), 10).await.unwrap();
        assert_eq!(part.total, 217);
        seen.extend(part.items.into_iter().map(|(key, _)| key));
        match part.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, expected);

    let red = [("colour".to_owned(), "1".to_owned())];
    let odd = store.list(Filter { prefix: "", tags: &red }, Select::Offset(640), 20).await.unwrap();
    assert_eq!((odd.total, odd.items.len(), odd.next_after), (650, 10, None));
    let nobody = [("colour".to_owned(), "1".to_owned()), ("none".to_owned(), String::new())];
    let none = store.list(Filter { prefix: "", tags: &nobody }, Select::Offset(0), 20).await.unwrap();
    assert_eq!((none.total, none.items.len()), (0, 0));
}

#[tokio::test]
async fn a_batch_is_done_in_order_on_a_redis_that_knows_no_script() {
    let server = server();
    let store = store(&server);
    let write = |key: &str, value: &str| Operation::Put { key: key.into(), put: put(value) };
    let read = |key: &str| Operation::Get { key: key.into() };
    let remove = |key: &str| Operation::Delete { key: key.into() };
    for _ in 0..2 {
        let results = store
            .batch(&[
                read("a"),
                write("a", "1"),
                read("a"),
                write("a", "2"),
                remove("a"),
                read("a"),
                remove("a"),
            ])
            .await
            .unwrap();
        let seen: Vec<String> = results
            .into_iter()
            .map(|result| match result.unwrap() {
                Done::Got(entry) => entry.map_or("-".into(), |it| String::from_utf8_lossy(&it.value).into()),
                Done::Put(written) => format!("v{}", written.version),
                Done::Deleted(was_there) => was_there.to_string(),
            })
            .collect();
        assert_eq!(seen, ["-", "v1", "1", "v2", "true", "-", "false"]);
        server.cli(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(store.batch(&[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn one_of_a_batch_that_fails_does_not_take_the_others_with_it() {
    let server = server();
    let store = store(&server);
    write(&store, "small", "1").await;
    server.cli(&["SET", "kv:{0}:e:rubbish", "no entry"]);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let results = store
        .batch(&[
            Operation::Get { key: "rubbish".into() },
            Operation::Put { key: "a".into(), put: put("1") },
            Operation::Get { key: "small".into() },
            Operation::Delete { key: "small".into() },
        ])
        .await
        .unwrap();
    assert!(matches!(results[0], Err(Error::Corrupt(_))), "{:?}", results[0]);
    assert!(matches!(results[1], Err(Error::Full)), "{:?}", results[1]);
    assert!(matches!(results[2], Ok(Done::Got(Some(_)))), "{:?}", results[2]);
    assert!(matches!(results[3], Ok(Done::Deleted(true))), "{:?}", results[3]);
}
