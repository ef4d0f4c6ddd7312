//! Any sequence of operations on a real Redis equals a simple model in memory; time is real.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use bytes::Bytes;
use keystead_kv::{
    Condition, ConnectOptions, Connection, Done, Filter, JSON, Keyring, Operation, Outcome, Put, Select,
    Store, Ttl, acl,
};
use keystead_route::{DataKey, Encryption, Endpoint};
use keystead_tests::{cluster::Cluster, redis::Server};
use proptest::{
    collection,
    prelude::*,
    test_runner::{Config, TestRunner},
};

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u8,
        value: u16,
        condition: u8,
        tag: Option<u8>,
        expires: bool,
    },
    /// Several puts at once.
    Batch(Vec<(u8, u16, Option<u8>, bool)>),
    Delete {
        key: u8,
        matching: bool,
    },
    Get {
        key: u8,
    },
    Increment {
        key: u8,
        by: i8,
    },
    SetTtl {
        key: u8,
        expires: bool,
    },
    List {
        prefix: u8,
        skip: u8,
        tag: Option<u8>,
    },
    /// Lets what expires expire.
    Wait,
}

#[derive(Clone, Debug)]
struct Kept {
    value: i64,
    version: u64,
    tag: Option<u8>,
    expires: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..6_u8;
    let step = prop_oneof![
        8 => (key.clone(), any::<u16>(), 0..4_u8, proptest::option::of(0..3_u8), proptest::bool::weighted(0.3))
            .prop_map(|(key, value, condition, tag, expires)| Step::Put { key, value, condition, tag, expires }),
        2 => collection::vec((key.clone(), any::<u16>(), proptest::option::of(0..3_u8), any::<bool>()), 1..6)
            .prop_map(Step::Batch),
        3 => (key.clone(), any::<bool>()).prop_map(|(key, matching)| Step::Delete { key, matching }),
        4 => key.clone().prop_map(|key| Step::Get { key }),
        2 => (key.clone(), any::<i8>()).prop_map(|(key, by)| Step::Increment { key, by }),
        2 => (key.clone(), any::<bool>()).prop_map(|(key, expires)| Step::SetTtl { key, expires }),
        4 => (0..3_u8, 0..4_u8, proptest::option::of(0..3_u8))
            .prop_map(|(prefix, skip, tag)| Step::List { prefix, skip, tag }),
        1 => Just(Step::Wait),
    ];
    collection::vec(step, 1..40)
}

/// Keys share prefixes, and one is the prefix of another.
fn name(key: u8) -> &'static str {
    ["a", "a/b", "a/c", "b", "bä", "c"][usize::from(key)]
}

#[test]
fn any_sequence_equals_the_model() {
    check(None);
}

#[test]
fn any_sequence_equals_the_model_where_keys_are_in_three_shards() {
    let rules = [acl::GATEWAY, acl::CLUSTER].join(" ");
    let cluster = Cluster::start(3, 0, 0, &[&format!("user gateway on >word {rules}")]);
    let flush = || {
        cluster.at_primaries(&["FLUSHALL"]);
    };
    check_on(cluster.endpoint(), None, 12, flush);
}

#[test]
fn any_sequence_equals_the_model_where_values_are_encrypted() {
    let key = DataKey { name: "one".into(), secret: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into() };
    let encryption = Encryption { keys: vec![key], active_key: Some("one".into()) };
    check(Some(Keyring::new(&encryption).unwrap()));
}

fn check(keyring: Option<Keyring>) {
    let server = Server::with_users(&[&format!("user gateway on >word {}", acl::GATEWAY)]);
    let endpoint = Endpoint::Standalone { address: server.address() };
    let flush = || {
        server.cli(&["FLUSHALL"]);
    };
    check_on(endpoint, keyring, 40, flush);
}

fn check_on(endpoint: Endpoint, keyring: Option<Keyring>, cases: u32, flush: impl Fn()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut options = ConnectOptions::new(endpoint, Some("gateway".into()), Some("word".into()));
    // The machine may be busy with other tests.
    options.response_timeout = Duration::from_secs(5);
    let store = runtime.block_on(async { Store::new(Connection::open(options).unwrap()) });
    let store = store.with_keyring(keyring);
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    runner
        .run(&steps(), |steps| {
            // Of steps that took longer than entries live nothing is known: they are repeated.
            for _ in 0..10 {
                flush();
                let begun = Cell::new(Instant::now());
                let steps = AssertUnwindSafe(|| runtime.block_on(follow(&store, &steps, &begun)));
                match catch_unwind(steps) {
                    Ok(()) => return Ok(()),
                    Err(_) if begun.get().elapsed() > Duration::from_millis(950) => {}
                    Err(wrong) => resume_unwind(wrong),
                }
            }
            panic!("steps of milliseconds take a second, ten times");
        })
        .unwrap();
}

fn put(value: u16, tag: Option<u8>, expires: bool) -> Put {
    Put {
        value: Bytes::from(value.to_string()),
        content_type: JSON.into(),
        tags: tag.map(|tag| ("tag".to_owned(), tag.to_string())).into_iter().collect(),
        ttl: if expires { Ttl::Seconds(1) } else { Ttl::Forever },
    }
}

/// `begun`: since when nothing was written that has expired.
async fn follow(store: &Store, steps: &[Step], begun: &Cell<Instant>) {
    let mut model: BTreeMap<&str, Kept> = BTreeMap::new();
    // Entries live a second at least: a run of steps without `Wait` takes a few milliseconds.
    for step in steps {
        if begun.get().elapsed() > Duration::from_millis(700) {
            expire(store, &mut model).await;
            begun.set(Instant::now());
        }
        match *step {
            Step::Batch(ref puts) => {
                let operations = puts.iter().map(|(key, value, tag, expires)| Operation::Put {
                    key: name(*key).to_owned(),
                    put: put(*value, *tag, *expires),
                });
                let results = store.batch(&operations.collect::<Vec<_>>()).await.unwrap();
                for ((key, value, tag, expires), result) in puts.iter().zip(results) {
                    let kept = model.get(name(*key));
                    let version = kept.map_or(1, |kept| kept.version + 1);
                    let Ok(Done::Put(written)) = result else { panic!("{result:?}") };
                    assert_eq!((written.version, written.created_new), (version, kept.is_none()));
                    let kept = Kept { value: (*value).into(), version, tag: *tag, expires: *expires };
                    model.insert(name(*key), kept);
                }
            }
            Step::Put { key, value, condition, tag, expires } => {
                let current = store.get(name(key)).await.unwrap().map(|entry| entry.metadata.entity_tag());
                let kept = model.get(name(key));
                let (condition, holds) = match condition {
                    0 => (Condition::Any, true),
                    1 => (Condition::Absent, kept.is_none()),
                    2 => (Condition::Present, kept.is_some()),
                    _ => (Condition::Matches(current.into_iter().collect()), kept.is_some()),
                };
                let put = put(value, tag, expires);
                let version = kept.map_or(1, |kept| kept.version + 1);
                match store.put(name(key), &put, &condition).await.unwrap() {
                    Outcome::Done(written) => {
                        assert!(holds, "{step:?} happened");
                        assert_eq!((written.version, written.created_new), (version, kept.is_none()));
                        model.insert(name(key), Kept { value: value.into(), version, tag, expires });
                    }
                    Outcome::Refused { exists } => assert_eq!((holds, exists), (false, kept.is_some())),
                }
            }
            Step::Delete { key, matching } => {
                let current = store.get(name(key)).await.unwrap().map(|entry| entry.metadata.entity_tag());
                let condition =
                    if matching { Condition::Matches(current.into_iter().collect()) } else { Condition::Any };
                let deleted = matches!(store.delete(name(key), &condition).await.unwrap(), Outcome::Done(()));
                assert_eq!(deleted, model.remove(name(key)).is_some());
            }
            Step::Get { key } => {
                let entry = store.get(name(key)).await.unwrap();
                let seen = entry.map(|entry| {
                    let tag = entry.metadata.tags.get("tag").map(|tag| tag.parse::<u8>().unwrap());
                    (entry.value, entry.metadata.version, tag)
                });
                let kept = model.get(name(key));
                assert_eq!(
                    seen,
                    kept.map(|kept| (Bytes::from(kept.value.to_string()), kept.version, kept.tag))
                );
            }
            Step::Increment { key, by } => {
                let added = store.increment(name(key), by.into(), Ttl::Seconds(1)).await.unwrap().unwrap();
                let kept =
                    model.entry(name(key)).or_insert(Kept { value: 0, version: 0, tag: None, expires: true });
                kept.value += i64::from(by);
                kept.version += 1;
                assert_eq!((added.value, added.written.version), (kept.value, kept.version));
            }
            Step::SetTtl { key, expires } => {
                let ttl = if expires { Ttl::Seconds(1) } else { Ttl::Forever };
                let is_there = store.set_ttl(name(key), ttl).await.unwrap();
                assert_eq!(is_there, model.contains_key(name(key)));
                if let Some(kept) = model.get_mut(name(key)) {
                    kept.expires = expires;
                }
            }
            Step::List { prefix, skip, tag } => {
                let prefix = ["", "a", "b"][usize::from(prefix)];
                let tags: Vec<_> = tag.map(|tag| ("tag".to_owned(), tag.to_string())).into_iter().collect();
                let filter = Filter { prefix, tags: &tags };
                let listing = store.list(filter, Select::Offset(skip.into()), 3).await.unwrap();
                let matching: Vec<&str> = model
                    .iter()
                    .filter(|(key, kept)| key.starts_with(prefix) && (tag.is_none() || kept.tag == tag))
                    .map(|(key, _)| *key)
                    .collect();
                let expected: Vec<&str> = matching.iter().copied().skip(skip.into()).take(3).collect();
                let seen: Vec<&str> = listing.items.iter().map(|(key, _)| key.as_str()).collect();
                assert_eq!((seen, listing.total), (expected, matching.len() as u64));
                assert_eq!(store.count().await.unwrap(), model.len() as u64);
            }
            Step::Wait => {
                expire(store, &mut model).await;
                begun.set(Instant::now());
            }
        }
    }
}

/// Waits until all that expires has expired.
async fn expire(store: &Store, model: &mut BTreeMap<&'static str, Kept>) {
    let expiring: Vec<&str> = model.iter().filter(|(_, kept)| kept.expires).map(|(key, _)| *key).collect();
    for key in expiring {
        while store.exists(key).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        model.remove(key);
    }
}
