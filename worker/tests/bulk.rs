//! Exports, imports and deletions of many entries: equal, in bounded memory, and continued where a killed worker was.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{PASSWORD, Worker, connect, ended, eventually, left, queue};
use keystead_kv::{
    Done, Entry, JSON, Metadata, Operation, Put, Store, Ttl, acl,
    queue::{Job, NewJob, Queue},
};
use keystead_tests::redis::Server;

fn put(key: String, value: Vec<u8>, content_type: &str, tags: &[(&str, &str)], ttl: Ttl) -> Operation {
    let tags: BTreeMap<String, String> =
        tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Operation::Put { key, put: Put { value: value.into(), content_type: content_type.into(), tags, ttl } }
}

async fn fill(store: &Store, puts: impl Iterator<Item = Operation>) {
    let puts: Vec<Operation> = puts.collect();
    for some in puts.chunks(200) {
        for done in store.batch(some).await.unwrap() {
            assert!(matches!(done, Ok(Done::Put(_))), "{done:?}");
        }
    }
}

async fn numbered(store: &Store, count: u32) {
    let of = |number: u32| {
        let tags: &[(&str, &str)] = if number.is_multiple_of(2) { &[("half", "even")] } else { &[] };
        put(format!("k{number:06}"), format!("{{\"n\":{number}}}").into(), JSON, tags, Ttl::Forever)
    };
    fill(store, (0..count).map(of)).await;
}

async fn run(queue: &Queue, kind: &str, payload: &str) -> Job {
    let id = queue.enqueue(&NewJob::new(kind, payload)).await.unwrap().id;
    ended(queue, &id, "succeeded").await
}

/// What a user sees of an entry, but for its version and times.
fn seen(entry: Option<Entry>) -> Option<Entry> {
    entry.map(|mut entry| {
        let expires = entry.metadata.expires.map(|_| 0);
        entry.metadata = Metadata { version: 0, created: 0, updated: 0, expires, ..entry.metadata };
        entry
    })
}

#[tokio::test]
async fn what_was_exported_deleted_and_imported_is_as_it_was() {
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let store = Store::new(connect(&server, Some("gateway")));
    let queue = Queue::new(connect(&server, Some("gateway")));
    let _worker = Worker::start(&server, Some("worker"), &[]);
    let binary = "application/octet-stream";
    let entries = [
        put(
            "json".into(),
            b"{\"n\": 1.0, \"s\": \"a\\nb\"}".into(),
            JSON,
            &[("a", "1"), ("b", "")],
            Ttl::Forever,
        ),
        put("text".into(), "line\nline \"ä\"".into(), "text/plain", &[], Ttl::Seconds(1000)),
        put("text-like-bytes".into(), b"{\"$base64\":\"eA==\"}".into(), "text/plain", &[], Ttl::Forever),
        put("json-like-bytes".into(), b"{\"$base64\":\"eA==\"}".into(), JSON, &[], Ttl::Forever),
        put("bytes".into(), vec![0, 255, 10, 13], binary, &[("a", "1")], Ttl::Forever),
        put("a key \"with\" ä/\n".into(), b"null".into(), JSON, &[], Ttl::Forever),
        put("empty".into(), Vec::new(), "text/plain", &[], Ttl::Forever),
    ];
    let keys: Vec<String> = entries
        .iter()
        .map(|operation| match operation {
            Operation::Put { key, .. } => key.clone(),
            _ => String::new(),
        })
        .collect();
    fill(&store, entries.into_iter()).await;
    // Its line feeds are between its words: a line has none.
    fill(&store, [put("pretty".into(), b"{\r\n  \"n\": 1\n}".into(), JSON, &[], Ttl::Forever)].into_iter())
        .await;
    let mut before = Vec::new();
    for key in &keys {
        before.push(seen(store.get(key).await.unwrap()));
        assert!(before.last().unwrap().is_some(), "{key}");
    }
    let export = run(&queue, "kv.export", "null").await;
    let lines = left(&queue, &export.id).await;
    assert_eq!(lines.lines().count(), 8, "{lines}");
    assert!(lines.contains(r#","content_type":"text/plain"}"#), "{lines}");

    let tagged = run(&queue, "kv.delete", r#"{"tags":{"a":"1"}}"#).await;
    assert_eq!(tagged.result.unwrap().get(), r#"{"deleted":2}"#);
    assert!(store.get("text").await.unwrap().is_some() && store.get("bytes").await.unwrap().is_none());
    let rest = run(&queue, "kv.delete", r#"{"prefix":""}"#).await;
    assert_eq!(rest.result.unwrap().get(), r#"{"deleted":6}"#);
    assert_eq!(store.count().await.unwrap(), 0);

    let from = format!(r#"{{"from":"{}"}}"#, export.id);
    let import = run(&queue, "kv.import", &from).await;
    assert_eq!(import.result.unwrap().get(), r#"{"entries":8,"lines":8}"#);
    for (key, before) in keys.iter().zip(before) {
        assert_eq!(seen(store.get(key).await.unwrap()), before, "{key}");
    }
    assert_eq!(&store.get("pretty").await.unwrap().unwrap().value[..], b"{    \"n\": 1 }");
    let again = run(&queue, "kv.export", r#"{"prefix":"nothing like this"}"#).await;
    assert_eq!(left(&queue, &again.id).await, "");
}

#[tokio::test]
async fn a_line_that_is_no_entry_ends_an_import_with_its_number() {
    let server = Server::start();
    let (queue, store) = (queue(&server), Store::new(connect(&server, None)));
    let limits = r#"{"maxKeyBytes":8,"maxValueBytes":20,"defaultTtlSeconds":60,"maxKeys":3}"#;
    let _worker = Worker::start(&server, None, &["--limits", limits]);
    let import = async |lines: &str| {
        let mut input = queue.begin_input();
        // Cut anywhere: a line may go on in the next part.
        let (one, other) = lines.as_bytes().split_at(lines.len() / 2);
        assert!(input.add(one, false).await.unwrap() && input.add(other, true).await.unwrap());
        let job = NewJob::new("kv.import", &format!(r#"{{"from":"{}"}}"#, input.id()));
        queue.enqueue(&job).await.unwrap().id
    };
    let good = import(
        "{\"key\":\"a\",\"value\":1}\n\n{\"key\":\"b\",\"value\":\"x\",\"content_type\":\"text/plain\"}",
    )
    .await;
    let good = ended(&queue, &good, "succeeded").await;
    assert_eq!(good.result.unwrap().get(), r#"{"entries":2,"lines":3}"#);
    assert_eq!(&store.get("b").await.unwrap().unwrap().value[..], b"x");
    for (line, says) in [
        ("{\"key\":\"c\"}", "line 2: missing field `value`"),
        ("nothing", "line 2: expected ident"),
        (
            "{\"key\":\"much-too-long\",\"value\":1}",
            "line 2: the key has 13 bytes: this tenant's keys have at most 8",
        ),
        ("{\"key\":\"c\",\"value\":\"123456789012345678901\"}", "line 2: the value has 23 bytes"),
        (
            "{\"key\":\"c\",\"value\":1,\"content_type\":\"image/png\"}",
            "line 2: a value of the type \"image/png\" is",
        ),
        (
            "{\"key\":\"c\",\"value\":1}\n{\"key\":\"d\",\"value\":1}",
            "line 3: the tenant has as many keys as",
        ),
    ] {
        let job = import(&format!("{{\"key\":\"a\",\"value\":1}}\n{line}\n")).await;
        let error = ended(&queue, &job, "dead").await.error.unwrap();
        assert!(error.starts_with(says), "{line}: {error}");
    }
    let missing = NewJob::new("kv.import", r#"{"from":"0199f0a0-0000-7000-8000-000000000000"}"#);
    let missing = queue.enqueue(&missing).await.unwrap().id;
    let error = ended(&queue, &missing, "dead").await.error.unwrap();
    assert_eq!(error, "there is nothing to import by the id 0199f0a0-0000-7000-8000-000000000000");
}

/// Starts the job, kills its worker in the middle, lets `meanwhile` happen, and has another worker go on.
async fn killed_in_the_middle(
    server: &Server,
    kind: &str,
    payload: &str,
    meanwhile: impl AsyncFnOnce(),
) -> Job {
    let queue = queue(server);
    let mut worker = Worker::start(server, None, &[]);
    let id = queue.enqueue(&NewJob::new(kind, payload)).await.unwrap().id;
    let key = format!("jobs:{{j}}:job:{id}");
    loop {
        let job = queue.get(&id).await.unwrap().unwrap();
        assert!(job.finished_at.is_none(), "it has ended too soon for this test: {job:?}");
        if job.progress.is_some_and(|progress| progress.percent > 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    worker.child.kill().unwrap();
    worker.child.wait().unwrap();
    assert_eq!(server.cli(&["HGET", &key, "status"]), "running");
    meanwhile().await;
    // As if its lease had run out.
    let dead = server.cli(&["ZRANGE", "jobs:{j}:workers", "0", "-1"]);
    server.cli(&["ZADD", "jobs:{j}:workers", "1", &dead]);
    let _other = Worker::start(server, None, &[]);
    let job = ended(&queue, &id, "succeeded").await;
    assert_eq!(job.attempts, 2);
    let progress = job.progress.clone().unwrap();
    assert_eq!(progress.percent, 100);
    job
}

const MANY: u32 = 30_000;

#[tokio::test]
async fn an_export_goes_on_where_a_killed_worker_was() {
    let server = Server::start();
    let (queue, store) = (queue(&server), Store::new(connect(&server, None)));
    numbered(&store, MANY).await;
    let job = killed_in_the_middle(&server, "kv.export", "null", async || {
        // It is in the part that was kept: who began anew would not find it.
        let first = Operation::Delete { key: "k000000".into() };
        assert!(matches!(store.batch(&[first]).await.unwrap()[0], Ok(Done::Deleted(true))));
    })
    .await;
    let lines = left(&queue, &job.id).await;
    let keys: Vec<String> = lines.lines().map(|line| line[8..15].to_owned()).collect();
    let expected: Vec<String> = (0..MANY).map(|number| format!("k{number:06}")).collect();
    assert!(keys == expected, "{} lines, and not each key once", keys.len());
    assert!(job.result.unwrap().get().contains("\"entries\":30000"));
}

#[tokio::test]
async fn an_import_goes_on_where_a_killed_worker_was() {
    let server = Server::start();
    let (queue, store) = (queue(&server), Store::new(connect(&server, None)));
    let mut input = queue.begin_input();
    let lines: Vec<String> =
        (0..MANY).map(|n| format!("{{\"key\":\"k{n:06}\",\"value\":{{\"n\":{n}}}}}\n")).collect();
    let lines = lines.concat();
    let parts: Vec<&[u8]> = lines.as_bytes().chunks(100_000).collect();
    for (at, part) in parts.iter().enumerate() {
        assert!(input.add(part, at + 1 == parts.len()).await.unwrap());
    }
    let payload = format!(r#"{{"from":"{}"}}"#, input.id());
    let job = killed_in_the_middle(&server, "kv.import", &payload, async || {
        fill(&store, [put("k000000".into(), b"0".into(), JSON, &[], Ttl::Forever)].into_iter()).await;
    })
    .await;
    assert_eq!(store.count().await.unwrap(), u64::from(MANY));
    assert_eq!(job.result.unwrap().get(), r#"{"entries":30000,"lines":30000}"#);
    // What was written since then is not set back.
    assert_eq!(&store.get("k000000").await.unwrap().unwrap().value[..], b"0");
    for n in [1, 777, 14_999, 29_999] {
        let entry = store.get(&format!("k{n:06}")).await.unwrap().unwrap();
        assert_eq!(&entry.value[..], format!("{{\"n\":{n}}}").as_bytes());
    }
}

#[tokio::test]
async fn a_deletion_goes_on_where_a_killed_worker_was() {
    let server = Server::start();
    let store = Store::new(connect(&server, None));
    numbered(&store, MANY).await;
    let job = killed_in_the_middle(&server, "kv.delete", r#"{"tags":{"half":"even"}}"#, async || {}).await;
    assert_eq!(store.count().await.unwrap(), u64::from(MANY / 2));
    let deleted: serde_json::Value = serde_json::from_str(job.result.unwrap().get()).unwrap();
    // What the killed one had deleted since its last report is not counted.
    let deleted = deleted["deleted"].as_u64().unwrap();
    assert!((u64::from(MANY / 2) - 500..=u64::from(MANY / 2)).contains(&deleted), "{deleted}");
}

#[tokio::test]
async fn a_hundred_megabytes_are_exported_and_imported_in_less_memory() {
    let server = Server::start();
    let (queue, store) = (queue(&server), Store::new(connect(&server, None)));
    for number in 0..200 {
        let value = format!("\"{}\"", format!("{number:07} ").repeat(64 * 1024)).into_bytes();
        fill(&store, [put(format!("k{number}"), value, JSON, &[], Ttl::Forever)].into_iter()).await;
    }
    let worker = Worker::start(&server, None, &[]);
    let export = run(&queue, "kv.export", "null").await;
    let export_bytes = queue.parts(&export.id).await.unwrap().unwrap().bytes;
    assert!(export_bytes > 100_000_000, "{export_bytes}");
    let import = run(&queue, "kv.import", &format!(r#"{{"from":"{}"}}"#, export.id)).await;
    assert_eq!(import.result.unwrap().get(), r#"{"entries":200,"lines":200}"#);
    assert_eq!(store.get("k7").await.unwrap().unwrap().metadata.version, 2);
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id())).unwrap();
    let most = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = most.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kibibytes < 96 * 1024, "{most}");
    eventually("the worker stays ready", async || {
        worker.page("/health/ready").filter(|page| page.0 == 200).map(|_| ()).ok_or_else(String::new)
    })
    .await;
}
