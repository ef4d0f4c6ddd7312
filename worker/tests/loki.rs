//! The audit log on its way to a real Loki: complete and in order, whatever dies in between.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use std::{
    env,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use common::{PASSWORD, Worker, connect, eventually};
use keystead_cluster::tools::Tools;
use keystead_kv::{
    acl,
    audit::{AuditLog, NewEntry, Writer},
    queue::Queue,
};
use keystead_tests::{loki::Loki, redis::Server};
use serde_json::Value;

fn loki() -> PathBuf {
    Tools::only(&["loki"]).unwrap().path("loki")
}

fn server() -> Server {
    Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ])
}

fn worker(server: &Server, loki: &Loki, further: &[&str]) -> Worker {
    let url = loki.url();
    let arguments = [&["--loki-url", &url, "--audit-flush-every", "1"], further].concat();
    Worker::start(server, Some("worker"), &arguments)
}

/// What a gateway does.
struct Gateway {
    log: AuditLog,
    writer: Writer,
    bound: u64,
    last: u64,
}

impl Gateway {
    fn new(server: &Server, bound: u64) -> Self {
        let log = AuditLog::new(connect(server, Some("gateway")));
        Self { log, writer: Writer::default(), bound, last: 0 }
    }

    /// Writes so many entries, in batches.
    async fn write(&mut self, count: u64) {
        for first in (self.last + 1..=self.last + count).step_by(100) {
            let numbers = first..(first + 100).min(self.last + count + 1);
            let entry = |number: u64| NewEntry {
                principal: Some("ada".into()),
                operation: "write_entry".into(),
                key: Some(format!("k\"{number}").into()),
                target: None,
                items: None,
                status: 200,
                request_id: number.to_string().into(),
                age: 0,
            };
            let entries: Vec<NewEntry> = numbers.map(entry).collect();
            let started = Instant::now();
            while let Err(error) = self.log.append(&self.writer, &entries, 0, self.bound).await {
                assert!(started.elapsed() < Duration::from_secs(90), "the batch is not written: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.writer.next();
        }
        self.last += count;
    }

    async fn all_sent(&self) {
        eventually("all is sent", async || {
            let backlog = self.log.backlog().await.map_err(|error| error.to_string())?;
            if backlog.unsent == 0 { Ok(()) } else { Err(format!("{backlog:?}")) }
        })
        .await;
    }

    /// All of the log, the oldest first.
    async fn written(&self) -> Vec<u64> {
        let (mut numbers, mut before) = (Vec::new(), None);
        loop {
            let page = eventually("a page of the log", async || {
                self.log.page(before, 500).await.map_err(|error| error.to_string())
            })
            .await;
            numbers.extend(page.entries.iter().map(|entry| entry.request_id.parse::<u64>().unwrap()));
            before = page.entries.last().map(|entry| entry.id);
            if before.is_none() {
                numbers.reverse();
                return numbers;
            }
        }
    }

    async fn dropped(&self) -> u64 {
        self.log.page(None, 1).await.unwrap().counts.dropped
    }
}

/// Everything that Loki has of the tenant: the lines in the order of their times.
fn lines(loki: &Loki, org: &str) -> Vec<Value> {
    let now = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let (mut from, until) = (now - 3_600_000_000_000, now + 60_000_000_000);
    let mut all = Vec::new();
    loop {
        let query = "%7Bjob%3D%22keystead-audit%22%2Ctenant%3D%22acme%22%7D";
        let path = format!(
            "/loki/api/v1/query_range?query={query}&start={from}&end={until}&limit=5000&direction=forward"
        );
        let (status, body) = loki.get(&path, org);
        assert_eq!(status, 200, "{body}\n{}", loki.log());
        let answer: Value = serde_json::from_str(&body).unwrap();
        let streams = answer["data"]["result"].as_array().unwrap();
        let values: Vec<&Value> =
            streams.iter().flat_map(|stream| stream["values"].as_array().unwrap()).collect();
        let mut times: Vec<(u64, &str)> = values
            .iter()
            .map(|value| (value[0].as_str().unwrap().parse().unwrap(), value[1].as_str().unwrap()))
            .collect();
        times.sort_by_key(|(time, _)| *time);
        all.extend(times.iter().map(|(_, line)| serde_json::from_str::<Value>(line).unwrap()));
        match times.last() {
            Some((time, _)) => from = time + 1,
            None => return all,
        }
    }
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["request_id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loki_that_is_killed_under_load_has_everything_once_and_in_order_afterwards() {
    let mut loki = Loki::start(&loki(), false);
    let server = server();
    let mut gateway = Gateway::new(&server, 100_000);
    let _workers = [(); 2].map(|()| worker(&server, &loki, &[]));
    gateway.write(3000).await;
    eventually("the first are sent", async || {
        let unsent = gateway.log.backlog().await.map_err(|error| error.to_string())?.unsent;
        if unsent < 3000 { Ok(()) } else { Err(unsent.to_string()) }
    })
    .await;
    for _ in 0..2 {
        loki.kill();
        gateway.write(4000).await;
        eventually("an attempt that fails", async || {
            let backlog = gateway.log.backlog().await.map_err(|error| error.to_string())?;
            if backlog.failures >= 2 && backlog.unsent >= 4000 { Ok(()) } else { Err(format!("{backlog:?}")) }
        })
        .await;
        loki.revive();
        gateway.write(1000).await;
    }
    gateway.all_sent().await;
    let lines = lines(&loki, "");
    assert_eq!(numbers(&lines), (1..=13_000).collect::<Vec<_>>());
    assert_eq!(gateway.dropped().await, 0);
    let line = &lines[9];
    assert_eq!(
        (&line["principal"], &line["key"], &line["status"]),
        (&"ada".into(), &"k\"10".into(), &200.into())
    );
    let queue = Queue::new(connect(&server, Some("worker")));
    let jobs = queue.get_all(&queue.list(0, 100).await.unwrap().1).await.unwrap();
    let error = jobs.iter().filter(|job| job.kind == "audit.flush").find_map(|job| job.error.clone());
    assert!(error.as_ref().is_some_and(|error| error.contains("Loki does not answer")), "{error:?}");
}

/// How long Loki is away under load: `KEYSTEAD_FAULT_SECONDS`, else a few.
fn away() -> Duration {
    let seconds = env::var("KEYSTEAD_FAULT_SECONDS").map_or(Ok(4), |text| text.parse());
    Duration::from_secs(seconds.expect("KEYSTEAD_FAULT_SECONDS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loki_that_is_away_while_gateways_go_on_has_all_they_wrote_in_the_order_of_the_log() {
    const GATEWAYS: u64 = 3;
    let mut loki = Loki::start(&loki(), false);
    let server = server();
    let _workers = [(); 2].map(|()| worker(&server, &loki, &[]));
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=GATEWAYS)
        .map(|number| {
            let (is_over, mut gateway) = (is_over.clone(), Gateway::new(&server, 2_000_000));
            gateway.last = number * 10_000_000;
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    gateway.write(50).await;
                    // As gateways do.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                gateway.last - number * 10_000_000
            })
        })
        .collect();
    let gateway = Gateway::new(&server, 2_000_000);
    let unsent = async || gateway.log.backlog().await.map(|backlog| backlog.unsent);
    let some_are_sent = async || {
        eventually("some are sent", async || {
            let (unsent, all) = (unsent().await, gateway.log.page(None, 1).await);
            let (unsent, all) = (unsent.map_err(|it| it.to_string())?, all.map_err(|it| it.to_string())?);
            if unsent < all.total { Ok(()) } else { Err(unsent.to_string()) }
        })
        .await;
    };
    some_are_sent().await;
    loki.kill();
    tokio::time::sleep(away()).await;
    let waiting = eventually("how much waits", async || unsent().await.map_err(|it| it.to_string())).await;
    loki.revive();
    // The load goes on until what waited is on its way.
    let (back, patience) = (Instant::now(), away() * 3 + Duration::from_mins(2));
    while gateway.log.backlog().await.map_or(true, |backlog| backlog.failures > 0) {
        assert!(back.elapsed() < patience, "nothing is sent any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    while unsent().await.map_or(true, |unsent| unsent > 0) {
        assert!(back.elapsed() < patience, "not all is sent: {:?}", gateway.log.backlog().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (log, lines) = (gateway.written().await, lines(&loki, ""));
    println!("Loki away for {:?}: {waiting} entries waited, {written} were written", away());
    assert_eq!((log.len() as u64, gateway.dropped().await), (written, 0));
    assert!(numbers(&lines) == log, "Loki has {} lines, the log has {}", lines.len(), log.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_over_the_bound_is_missing_and_it_is_counted() {
    let mut loki = Loki::start(&loki(), true);
    let server = server();
    let mut gateway = Gateway::new(&server, 1000);
    let mut first = worker(&server, &loki, &["--loki-org", "shops"]);
    gateway.write(700).await;
    gateway.all_sent().await;
    loki.kill();
    gateway.write(3500).await;
    assert_eq!(gateway.dropped().await, 2500);
    // Whoever comes next goes on where it stopped.
    first.child.kill().unwrap();
    loki.revive();
    let second = worker(&server, &loki, &["--loki-org", "shops"]);
    gateway.all_sent().await;
    let expected: Vec<u64> = (1..=700).chain(3201..=4200).collect();
    assert_eq!(numbers(&lines(&loki, "shops")), expected);
    assert_eq!(gateway.dropped().await, 2500);
    let metrics = second.page("/metrics").unwrap().1;
    assert!(
        metrics.contains("keystead_audit_dropped 2500\n") && metrics.contains("keystead_audit_unsent 0\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_loki_never_takes_holds_nothing_up_and_is_counted() {
    let loki = Loki::start(&loki(), false);
    let server = server();
    let mut gateway = Gateway::new(&server, 1000);
    // Of 1970: older than Loki takes anything.
    let old = [
        "XADD",
        "audit:{l}:log",
        "1000-0",
        "p",
        "",
        "o",
        "me",
        "k",
        "",
        "t",
        "",
        "n",
        "",
        "s",
        "200",
        "r",
        "0",
        "a",
        "0",
    ];
    assert_eq!(server.cli(&old), "1000-0");
    gateway.write(10).await;
    let _worker = worker(&server, &loki, &[]);
    gateway.all_sent().await;
    gateway.write(10).await;
    gateway.all_sent().await;
    assert_eq!(numbers(&lines(&loki, "")), (1..=20).collect::<Vec<_>>());
    let counts = gateway.log.page(None, 1).await.unwrap().counts;
    assert_eq!((counts.dropped, counts.refused), (0, 11), "the whole batch is counted");
}
