//! Slots that move from shard to shard, and shards whose primary dies, while clients read and write.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    cluster::{cluster, connect, options_of, tagged},
    done, put,
    replicated::{Writers, patient},
    write,
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use keystead_kv::{Condition, Connection, Done, Error, Filter, Operation, Outcome, Select, Store, Ttl};
use keystead_route::Durability;
use keystead_tests::cluster::Cluster;
use tokio::task::{JoinHandle, block_in_place};

/// Who changes entries of its own all the time, and knows what they are: key, number, colour.
struct Client {
    entries: JoinHandle<BTreeMap<String, (i64, String)>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    done: AtomicUsize,
}

const COLOURS: [&str; 3] = ["red", "green", "blue"];

fn client(store: &Store, number: usize, shared: &Arc<Shared>) -> Client {
    let (store, shared) = (store.clone(), shared.clone());
    let entries = tokio::spawn(async move {
        let mut model: BTreeMap<String, (i64, String)> = BTreeMap::new();
        let mut turn = 0_usize;
        while !shared.is_over.load(Ordering::Relaxed) {
            turn += 1;
            let key = format!("client-{number}/{}", turn * 31 % 200);
            let colour = COLOURS[turn % 3];
            match turn % 10 {
                0 => {
                    let was_there = matches!(
                        store
                            .delete(&key, &Condition::Any)
                            .await
                            .unwrap_or_else(|error| panic!("delete: {error}")),
                        Outcome::Done(())
                    );
                    assert_eq!(was_there, model.remove(&key).is_some(), "{key}");
                }
                1 => {
                    let added = store.increment(&key, 1, Ttl::Forever).await;
                    let added = added.unwrap_or_else(|error| panic!("increment: {error}")).unwrap();
                    let entry = model.entry(key.clone()).or_insert((0, String::new()));
                    entry.0 += 1;
                    assert_eq!(added.value, entry.0, "{key}");
                }
                2 => {
                    let puts: Vec<(String, Operation)> = (0..10)
                        .map(|at| {
                            let key = format!("client-{number}/{}", (turn + at * 17) % 200);
                            let put = tagged("7", "colour", colour);
                            (key.clone(), Operation::Put { key, put })
                        })
                        .collect();
                    let (keys, puts): (Vec<String>, Vec<Operation>) = puts.into_iter().unzip();
                    let results = store.batch(&puts).await.unwrap_or_else(|error| panic!("batch: {error}"));
                    for (key, result) in keys.into_iter().zip(results) {
                        assert!(matches!(result, Ok(Done::Put(_))), "batch: {result:?}");
                        model.insert(key, (7, colour.to_owned()));
                    }
                }
                3..6 => {
                    let entry = store.get(&key).await.unwrap_or_else(|error| panic!("get: {error}"));
                    let seen = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
                    assert_eq!(seen, model.get(&key).map(|(value, _)| value.to_string()), "{key}");
                }
                6 if turn % 100 == 6 => {
                    let prefix = format!("client-{number}/");
                    let listing = store.list(Filter::with_prefix(&prefix), Select::Offset(0), 1000).await;
                    let listing = listing.unwrap_or_else(|error| panic!("list: {error}"));
                    let seen: Vec<&String> = listing.items.iter().map(|(key, _)| key).collect();
                    assert_eq!(seen, model.keys().collect::<Vec<_>>());
                    assert_eq!(listing.total, model.len() as u64);
                }
                _ => {
                    let value = i64::try_from(turn).unwrap();
                    let put = tagged(&value.to_string(), "colour", colour);
                    let outcome = store.put(&key, &put, &Condition::Any).await;
                    done(outcome.unwrap_or_else(|error| panic!("put: {error}")));
                    model.insert(key, (value, colour.to_owned()));
                }
            }
            shared.done.fetch_add(1, Ordering::Relaxed);
        }
        model
    });
    Client { entries }
}

/// All that is there equals what the clients know.
async fn is_exact(store: &Store, model: &BTreeMap<String, (i64, String)>) {
    assert_eq!(store.count().await.unwrap(), model.len() as u64);
    let (mut seen, mut after) = (BTreeMap::new(), String::new());
    loop {
        let part = store.list_values(Filter::default(), Select::After(&after), 500, u64::MAX).await.unwrap();
        for (key, entry) in part.items {
            let value = String::from_utf8_lossy(&entry.value).parse::<i64>().unwrap();
            seen.insert(key, (value, entry.metadata.tags.get("colour").cloned().unwrap_or_default()));
        }
        let Some(next) = part.next_after else { break };
        after = next;
    }
    assert_eq!(&seen, model);
    for colour in COLOURS {
        let tags = [("colour".to_owned(), colour.to_owned())];
        let filter = Filter { prefix: "", tags: &tags };
        let listing = store.list(filter, Select::Offset(0), 10_000).await.unwrap();
        let tagged: Vec<&String> = listing.items.iter().map(|(key, _)| key).collect();
        let expected = model.iter().filter(|(_, (_, of))| of == colour).map(|(key, _)| key);
        assert_eq!(tagged, expected.collect::<Vec<_>>(), "{colour}");
        assert_eq!(listing.total, tagged.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_to_a_new_shard_and_back_and_no_operation_fails() {
    let cluster = cluster(3, 1, 0);
    let mut options = options_of(&cluster, Durability::Async);
    options.cache_bytes = 1 << 20;
    // Six clients and a resharding take all of the machine.
    options.response_timeout = Duration::from_secs(5);
    let store = Store::new(Connection::open(options).unwrap());
    let shared = Arc::new(Shared::default());
    let clients: Vec<Client> = (0..6).map(|number| client(&store, number, &shared)).collect();
    let progress = |what: &str, before: usize| {
        let done = shared.done.load(Ordering::Relaxed);
        eprintln!("{what}: {} operations", done - before);
        assert!(done > before, "nothing was done meanwhile");
        done
    };
    let begun = Arc::clone(&shared);
    block_in_place(|| {
        cluster
            .until("the clients have begun", |_| (begun.done.load(Ordering::Relaxed) > 1000).then_some(()));
    });
    let mut before = progress("before", 0);
    block_in_place(|| cluster.grow(3));
    before = progress("3 to 4 shards", before);
    assert!(cluster.slot_count(3) > 4000, "{}", cluster.slot_count(3));
    block_in_place(|| cluster.shrink(3));
    progress("4 to 3 shards", before);
    assert_eq!(cluster.slot_count(3), 0);
    shared.is_over.store(true, Ordering::Relaxed);
    let mut model = BTreeMap::new();
    for client in clients {
        model.extend(client.entries.await.unwrap());
    }
    is_exact(&store, &model).await;
    // Also for one who comes now, and as they are in Redis: each entry in one place, and no key that nobody knows.
    is_exact(&Store::new(connect(&cluster, Durability::Async)), &model).await;
    for key in model.keys() {
        store.delete(key, &Condition::Any).await.unwrap();
    }
    assert!(cluster.at_primaries(&["DBSIZE"]).iter().all(|size| size == "0"), "something is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_the_slots_of_before_is_sent_on() {
    let cluster = cluster(3, 1, 0);
    let store = Store::new(connect(&cluster, Durability::Async));
    for number in 0..100 {
        write(&store, &format!("k{number}"), &number.to_string()).await;
    }
    block_in_place(|| cluster.grow(3));
    let at_new = |number: &usize| store_has(&cluster, 3, &format!("k{number}"));
    assert!((0..100).any(|number| at_new(&number)), "nothing has moved");
    for number in 0..100 {
        let entry = store.get(&format!("k{number}")).await.unwrap().unwrap();
        assert_eq!(entry.value, number.to_string());
        write(&store, &format!("k{number}"), "new").await;
    }
    assert_eq!(store.count().await.unwrap(), 100);
}

fn store_has(cluster: &Cluster, shard: usize, key: &str) -> bool {
    let keys = cluster.cli(cluster.members_of(shard).start, &["KEYS", &format!("kv:*:e:{key}")]);
    !keys.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_of_a_shard_loses_nothing_and_the_others_go_on() {
    let mut cluster = cluster(3, 0, 2);
    let store = Store::new(patient(options_of(&cluster, Durability::Replicated)));
    let writers = Writers::start(&store, 12).await;
    let victim = cluster.primary(1).unwrap();
    block_in_place(|| cluster.kill(victim));
    // Those of two shards of three come back, and then for a while no other.
    let elsewhere = (0..50).map(async |number| {
        let (key, put) = (format!("elsewhere-{number}"), put("1"));
        let written = store.put(&key, &put, &Condition::Any).await;
        (key, written.is_ok())
    });
    let mut elsewhere: FuturesUnordered<_> = elsewhere.collect();
    let mut order = Vec::new();
    while let Some((key, is_written)) = elsewhere.next().await {
        assert!(is_written, "{key}, after {order:?}");
        order.push(key);
    }
    block_in_place(|| {
        cluster.until("a replica takes over", |cluster| cluster.primary(1));
    });
    // Buckets of 64 slots, of which shard 1 has those from 5461 to 10922.
    let is_of_the_victim = |key: &str| (86..170).contains(&(keystead_usage::slot(key.as_bytes()) % 256));
    let before = order.iter().take_while(|key| !is_of_the_victim(key)).count();
    assert!(before > 20, "two thirds are of other shards, and {before} came back first: {order:?}");
    writers.more(500).await;
    let written = writers.end().await;
    written.say("a shard's primary killed, Replicated");
    written.is_all_there(&store).await;
    assert!(
        written.errors.iter().all(|error| matches!(error, Error::OutcomeUnknown)),
        "{:?}",
        written.errors
    );
    block_in_place(|| {
        cluster.revive(victim);
        cluster.until_settled();
    });
    written.is_all_there(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_hand_over_of_a_shard_fails_no_request() {
    let cluster = cluster(3, 0, 1);
    for durability in [Durability::Async, Durability::Replicated] {
        let store = Store::new(patient(options_of(&cluster, durability)));
        let writers = Writers::start(&store, 12).await;
        for shard in 0..3 {
            block_in_place(|| cluster.hand_over(shard));
            writers.more(200).await;
        }
        let written = writers.end().await;
        written.say(&format!("handed over, {durability:?}"));
        assert!(written.errors.is_empty(), "{:?}", written.errors);
        written.is_all_there(&store).await;
        block_in_place(|| cluster.until_settled());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_hangs_does_not_make_the_others_fail() {
    let cluster = cluster(3, 0, 0);
    let mut options = options_of(&cluster, Durability::Async);
    options.hold = Duration::from_millis(300);
    options.write_timeout = Duration::from_millis(500);
    let store = Store::new(Connection::open(options.clone()).unwrap());
    let keys: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    for key in &keys {
        write(&store, key, "1").await;
    }
    let hangs = cluster.primary(0).unwrap();
    cluster.pause(hangs);
    let mut working = HashSet::new();
    for round in 0..3 {
        let reads = keys.iter().map(async |key| (key.clone(), store.get(key).await));
        let answers = futures::future::join_all(reads).await;
        let good: HashSet<String> =
            answers.into_iter().filter(|(_, answer)| answer.is_ok()).map(|(key, _)| key).collect();
        assert!(good.len() > 20 && good.len() < 60, "{round}: {} of 60 were read", good.len());
        assert!(working.is_empty() || working == good, "{round}");
        working = good;
    }
    for key in &working {
        write(&store, key, "2").await;
    }
    // One that begins now cannot count the keys.
    let late = Store::new(Connection::open(options).unwrap()).with_max_keys(1000);
    for key in &working {
        write(&late, key, "3").await;
    }
    cluster.resume(hangs);
    let started = std::time::Instant::now();
    while store.count().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(90), "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.count().await.unwrap(), 60);
}
