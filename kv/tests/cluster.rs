//! A Redis Cluster of real processes: what a store says is the same as on one Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use common::{
    cluster::{cluster, connect, connect_worker, options_of, tagged},
    done, put, write,
};
use keystead_kv::{
    Condition, Connection, Done, Error, Filter, Operation, Put, Select, Store, Ttl,
    audit::{AuditLog, NewEntry, Writer},
    idempotency::{Answer, Known, Requests},
    queue::{Claims, Ending, NewJob, Queue, Wake},
};
use keystead_route::Durability;

fn keys(listing: &[(String, impl Sized)]) -> Vec<&str> {
    listing.iter().map(|(key, _)| key.as_str()).collect()
}

#[tokio::test]
async fn lists_of_thousands_of_keys_equal_a_sorted_model() {
    let cluster = cluster(3, 0, 0);
    let store = Store::new(connect(&cluster, Durability::Async));
    let mut model: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for part in 0..60_u32 {
        let puts = (0..100_u32).map(|number| {
            let number = part * 100 + number;
            let colour = if number % 7 == 0 { "red" } else { "blue" };
            let key = format!("{}/{}", ["a", "b", "bü"][(number % 3) as usize], number * 7919 % 6000);
            model.insert(key.clone(), (number.to_string(), colour));
            Operation::Put { key, put: tagged(&number.to_string(), "colour", colour) }
        });
        let results = store.batch(&puts.collect::<Vec<_>>()).await.unwrap();
        assert!(results.iter().all(|result| matches!(result, Ok(Done::Put(_)))), "{results:?}");
    }
    let model: Vec<(String, (String, &str))> = model.into_iter().collect();
    assert_eq!(store.count().await.unwrap(), model.len() as u64);
    let red = [("colour".to_owned(), "red".to_owned())];
    for prefix in ["", "a/", "b", "nothing"] {
        for tags in [&[][..], &red] {
            let expected: Vec<&(String, (String, &str))> = model
                .iter()
                .filter(|(key, (_, colour))| key.starts_with(prefix) && (tags.is_empty() || *colour == "red"))
                .collect();
            let filter = Filter { prefix, tags };
            for skip in [0, 1, 99, 1500, 4321, 5990, 1_000_000_000] {
                let page = store.list(filter, Select::Offset(skip), 100).await.unwrap();
                let skip = usize::try_from(skip).unwrap();
                let stretch: Vec<&str> =
                    expected.iter().skip(skip).take(100).map(|(key, _)| key.as_str()).collect();
                assert_eq!(keys(&page.items), stretch, "{filter:?} {skip}");
                assert_eq!(page.total, expected.len() as u64);
                let has_next = skip + 100 < expected.len();
                assert_eq!(page.next_after.as_deref(), has_next.then(|| *stretch.last().unwrap()));
            }
            let (mut walked, mut after) = (Vec::new(), String::new());
            loop {
                let part = store.list_values(filter, Select::After(&after), 700, 2000).await.unwrap();
                assert_eq!(part.total, expected.len() as u64);
                walked.extend(part.items);
                match part.next_after {
                    Some(next) => after = next,
                    None => break,
                }
            }
            let walked: Vec<(&str, &[u8])> =
                walked.iter().map(|(key, entry)| (key.as_str(), &entry.value[..])).collect();
            let expected: Vec<(&str, &[u8])> =
                expected.iter().map(|(key, (value, _))| (key.as_str(), value.as_bytes())).collect();
            assert_eq!(walked, expected, "{filter:?}");
        }
    }
    // A head that does not fit in the first bytes that are read.
    let tags = (0..32).map(|tag| (format!("tag-{tag}"), "v".repeat(100))).collect();
    let large = Put { tags, ..put("1") };
    done(store.put("zz", &large, &Condition::Any).await.unwrap());
    let page = store.list(Filter::with_prefix("zz"), Select::Offset(0), 10).await.unwrap();
    assert_eq!(page.items[0].1.tags.len(), 32);
}

#[tokio::test]
async fn a_batch_is_done_in_the_order_of_each_key() {
    let cluster = cluster(3, 0, 0);
    let store = Store::new(connect(&cluster, Durability::Async));
    let operations: Vec<Operation> = (0..40)
        .flat_map(|number| {
            let key = format!("k{number}");
            [
                Operation::Get { key: key.clone() },
                Operation::Put { key: key.clone(), put: put("1") },
                Operation::Put { key: key.clone(), put: put("2") },
                Operation::Get { key: key.clone() },
                Operation::Delete { key },
            ]
        })
        .collect();
    let results: Vec<Done> =
        store.batch(&operations).await.unwrap().into_iter().map(Result::unwrap).collect();
    for those in results.chunks(5) {
        let [Done::Got(None), Done::Put(one), Done::Put(two), Done::Got(Some(entry)), Done::Deleted(true)] =
            those
        else {
            panic!("{those:?}");
        };
        assert_eq!((one.version, two.version, &entry.value[..]), (1, 2, &b"2"[..]));
    }
    assert_eq!(store.count().await.unwrap(), 0);
}

#[tokio::test]
async fn what_expires_is_not_counted_and_is_swept_in_every_bucket() {
    let cluster = cluster(3, 0, 0);
    let store = Store::new(connect(&cluster, Durability::Async));
    for number in 0..300 {
        let short = Put { ttl: Ttl::Seconds(1), ..tagged("1", "t", "v") };
        done(store.put(&format!("k{number}"), &short, &Condition::Any).await.unwrap());
    }
    done(store.put("long", &tagged("1", "t", "v"), &Condition::Any).await.unwrap());
    while store.exists("k299").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.count().await.unwrap(), 1);
    let tags = [("t".to_owned(), "v".to_owned())];
    let listing = store.list(Filter { prefix: "", tags: &tags }, Select::Offset(0), 10).await.unwrap();
    assert_eq!((keys(&listing.items), listing.total), (vec!["long"], 1));
    assert_eq!(store.sweep(10_000).await.unwrap(), 0, "the list has swept already");
    store.delete("long", &Condition::Any).await.unwrap();
    cluster.until("no key is left behind", |cluster| {
        cluster.at_primaries(&["DBSIZE"]).iter().all(|size| size == "0").then_some(())
    });
}

#[tokio::test]
async fn about_as_many_keys_are_let_in_as_there_may_be() {
    let cluster = cluster(3, 0, 0);
    let store = Store::new(connect(&cluster, Durability::Async)).with_max_keys(50);
    let mut refused = 0;
    for number in 0..60 {
        match store.put(&format!("k{number}"), &put("1"), &Condition::Any).await {
            Ok(_) => {}
            Err(Error::TooManyKeys) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((refused, store.count().await.unwrap()), (10, 50), "one process knows what it has made");
    write(&store, "k0", "2").await;
}

#[tokio::test]
async fn requests_the_audit_log_and_jobs_work() {
    let cluster = cluster(3, 0, 0);
    let requests = Requests::new(connect(&cluster, Durability::Async), None);
    let attempt = requests.attempt("id".into(), "print".into()).unwrap();
    assert!(matches!(requests.begin(&attempt).await.unwrap(), Known::New));
    let answer = Answer { status: 201, headers: Vec::new(), body: "{}".into() };
    requests.end(&attempt, answer.clone()).await.unwrap();
    let known = requests.begin(&attempt).await.unwrap();
    assert!(matches!(&known, Known::Answered(it) if *it == answer), "{known:?}");

    let entry = NewEntry {
        principal: Some("ada".into()),
        operation: "read_entry".into(),
        key: Some("k".into()),
        target: None,
        items: None,
        status: 200,
        request_id: "r".into(),
        age: 0,
    };
    let log = AuditLog::new(connect(&cluster, Durability::Async));
    log.append(&Writer::default(), &[entry.clone(), entry], 0, 1).await.unwrap();
    assert_eq!(log.page(None, 5).await.unwrap().counts.dropped, 1);
    let log = AuditLog::new(connect_worker(&cluster));
    let unsent = log.unsent(5).await.unwrap();
    assert_eq!(unsent.entries[0].key.as_deref(), Some("k"));
    assert!(log.sent(&unsent, false).await.unwrap() && log.backlog().await.unwrap().unsent == 0);

    let queue = Queue::new(connect_worker(&cluster));
    let mut wake = Wake::subscribe(&queue).await.unwrap();
    let job = queue.enqueue(&NewJob::new("kind", "{}")).await.unwrap();
    assert!(wake.wait().await);
    let claims = Claims::new(&queue, "worker".into(), Duration::from_secs(30));
    let (claimed, left) = claims.fetch(5).await.unwrap();
    assert_eq!((claimed[0].id.as_str(), left), (job.id.as_str(), 0));
    assert_eq!(queue.get_all(std::slice::from_ref(&job.id)).await.unwrap()[0].status, "running");
    let done = Ending::Succeeded { result: "1".into() };
    assert_eq!(claims.end_all(&[(&claimed[0], &done), (&claimed[0], &done)]).await.unwrap(), [true, false]);
    assert_eq!(queue.get_all(&[job.id]).await.unwrap()[0].status, "succeeded");
    let mut counts = queue.counts().await.unwrap();
    counts.retain(|(_, count)| *count > 0);
    assert_eq!(counts, [("succeeded".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_at_the_queue_is_told_when_another_shard_has_it() {
    let cluster = cluster(3, 0, 0);
    let queue = Queue::new(connect_worker(&cluster));
    let mut wake = Wake::subscribe(&queue).await.unwrap();
    let from = cluster.shard_of("jobs:{j}:wake");
    tokio::task::block_in_place(|| cluster.shrink(from));
    assert!(!wake.wait().await, "it goes on listening");
    let _ = Wake::subscribe(&queue).await.unwrap();
}

#[tokio::test]
async fn entries_that_are_kept_are_forgotten_when_others_write() {
    let cluster = cluster(3, 0, 0);
    let mut options = options_of(&cluster, Durability::Async);
    options.cache_bytes = 1 << 20;
    let (here, there) =
        (Store::new(Connection::open(options).unwrap()), Store::new(connect(&cluster, Durability::Async)));
    for number in 0..20 {
        let key = format!("k{number}");
        write(&there, &key, "1").await;
        // While the primaries are being found all is forgotten now and then.
        let started = Instant::now();
        while here.read(&key).await.unwrap().was_cached != Some(true) {
            assert!(started.elapsed() < Duration::from_secs(90), "{key} is never kept");
        }
        write(&there, &key, "2").await;
        while here.read(&key).await.unwrap().entry.unwrap().value != "2" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_replica_answers_and_what_it_does_not_have_the_primary_does() {
    let cluster = cluster(3, 0, 1);
    let store = Store::new(connect(&cluster, Durability::Replicated));
    for number in 0..30 {
        write(&store, &format!("k{number}"), "1").await;
    }
    let before: u64 = reads_of_replicas(&cluster);
    let near = store.from_replica();
    for number in 0..30 {
        assert_eq!(near.read(&format!("k{number}")).await.unwrap().entry.unwrap().value, "1");
    }
    assert!(near.read("nothing").await.unwrap().entry.is_none());
    assert!(reads_of_replicas(&cluster) >= before + 20, "the primaries were asked");
    let listing = near.list(Filter::default(), Select::Offset(0), 10).await.unwrap();
    assert_eq!((listing.total, listing.items.len()), (30, 10));
}

fn reads_of_replicas(cluster: &keystead_tests::cluster::Cluster) -> u64 {
    let calls = |member: usize| {
        let stats = cluster.cli(member, &["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
        line.and_then(|line| line.split(',').next()).and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0)
    };
    (0..3).map(|shard| cluster.members_of(shard).start + 1).map(calls).sum()
}
