//! The audit log on a real Redis: what comes back, what is sent once, and that nothing leaves it uncounted.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::collections::HashSet;

use common::{connect, put, server, until};
use keystead_kv::{
    Condition, Error, Store,
    audit::{AuditEntry, AuditLog, NewEntry, Unsent, Writer},
};
use keystead_tests::redis::Server;

const BOUND: u64 = 50;

fn log(server: &Server, user: &str) -> AuditLog {
    AuditLog::new(connect(server, Some(user)))
}

/// Entries whose request ids are these numbers.
fn entries(numbers: std::ops::Range<u64>) -> Vec<NewEntry<'static>> {
    let entry = |number: u64| NewEntry {
        principal: Some("ada".into()),
        operation: "read_entry".into(),
        key: Some(format!("k{number}").into()),
        target: None,
        items: None,
        status: 200,
        request_id: number.to_string().into(),
        age: 0,
    };
    numbers.map(entry).collect()
}

/// Repeated until it is known to be there, as a gateway does it: on a busy machine an answer may come too late.
async fn append(log: &AuditLog, writer: &mut Writer, entries: &[NewEntry<'_>], dropped: u64, bound: u64) {
    until("the batch", async || log.append(writer, entries, dropped, bound).await.is_ok()).await;
    writer.next();
}

fn numbers(entries: &[AuditEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.request_id.parse().unwrap()).collect()
}

#[tokio::test]
async fn entries_come_back_by_pages_the_newest_first() {
    let server = server();
    let (gateway, mut writer) = (log(&server, "gateway"), Writer::default());
    let batch = NewEntry {
        principal: None,
        operation: "batch".into(),
        key: None,
        target: Some("t".into()),
        items: Some(7),
        status: 403,
        request_id: "r".into(),
        age: 60_000,
    };
    append(&gateway, &mut writer, &entries(1..6), 0, BOUND).await;
    // As after an answer that was lost.
    for _ in 0..3 {
        gateway.append(&writer, std::slice::from_ref(&batch), 0, BOUND).await.unwrap();
    }
    let page = gateway.page(None, 4).await.unwrap();
    assert_eq!((page.total, page.entries.len()), (6, 4));
    let newest = &page.entries[0];
    assert_eq!(newest.id.milliseconds() - newest.time, 60_000, "the time is that of the answer");
    let AuditEntry { principal, operation, key, target, items, status, request_id, .. } = newest.clone();
    assert_eq!((principal, operation.as_str(), key, target.as_deref()), (None, "batch", None, Some("t")));
    assert_eq!((items, status, request_id.as_str()), (Some(7), 403, "r"));
    assert_eq!(numbers(&page.entries[1..]), [5, 4, 3]);
    let rest = gateway.page(Some(page.entries[3].id), 4).await.unwrap();
    assert_eq!(numbers(&rest.entries), [2, 1]);
    assert_eq!(rest.entries[0].key.as_deref(), Some("k2"));
}

#[tokio::test]
async fn what_leaves_the_log_unsent_is_counted_exactly_and_nothing_else() {
    let server = server();
    let (gateway, worker, mut writer) = (log(&server, "gateway"), log(&server, "worker"), Writer::default());
    let (mut last, mut sent, mut noted) = (0_u64, HashSet::new(), 0_u64);
    let mut reading: Option<Unsent> = None;
    for step in 0..400_u64 {
        // No pattern: the log is at times far ahead of what was sent, and at times empty.
        match (step * 7919) % 11 {
            0..=4 => {
                let count = (step * 31) % 23 + 1;
                let own = u64::from(step % 40 == 0);
                append(&gateway, &mut writer, &entries(last + 1..last + 1 + count), own, BOUND).await;
                last += count;
                noted += own;
            }
            5..=7 => reading = Some(worker.unsent((step * 13) % 40 + 1).await.unwrap()),
            _ => {
                let Some(these) = reading.take() else { continue };
                assert!(worker.sent(&these, false).await.unwrap());
                sent.extend(numbers(&these.entries));
            }
        }
        let gone = last.saturating_sub(BOUND);
        let unsent = (1..=last).filter(|number| !sent.contains(number));
        let (dropped, left): (Vec<u64>, Vec<u64>) = unsent.partition(|number| *number <= gone);
        let counted = dropped_of(&gateway).await;
        assert_eq!(counted, dropped.len() as u64 + noted, "dropped after step {step}");
        let behind_sent = left.iter().filter(|number| sent.iter().all(|sent| sent < number)).count();
        assert_eq!(worker.backlog().await.unwrap().unsent, behind_sent as u64, "step {step}");
        let next = worker.unsent(1000).await.unwrap();
        assert_eq!(numbers(&next.entries), left, "step {step}");
    }
    assert!(sent.len() > 300 && dropped_of(&gateway).await > 300);
}

async fn dropped_of(log: &AuditLog) -> u64 {
    log.page(None, 1).await.unwrap().counts.dropped
}

#[tokio::test]
async fn of_two_that_send_one_goes_on() {
    let server = server();
    let (gateway, worker) = (log(&server, "gateway"), log(&server, "worker"));
    append(&gateway, &mut Writer::default(), &entries(1..11), 0, BOUND).await;
    let (one, other) = (worker.unsent(4).await.unwrap(), worker.unsent(6).await.unwrap());
    assert_eq!((one.left, other.left), (6, 4));
    worker.failed(3, 12_345).await.unwrap();
    let backlog = worker.backlog().await.unwrap();
    assert_eq!((backlog.unsent, backlog.failures, backlog.retry_at), (10, 3, 12_345));
    assert!(worker.sent(&one, false).await.unwrap());
    assert!(!worker.sent(&other, false).await.unwrap(), "it begins where the other one has been");
    let backlog = worker.backlog().await.unwrap();
    assert_eq!((backlog.unsent, backlog.failures, backlog.retry_at), (6, 0, 0));
    let next = worker.unsent(1000).await.unwrap();
    assert_eq!(numbers(&next.entries), [5, 6, 7, 8, 9, 10]);
    assert!(worker.sent(&next, true).await.unwrap());
    assert_eq!(gateway.page(None, 1).await.unwrap().counts.refused, 6);
}

#[tokio::test]
async fn a_full_redis_keeps_the_newest_and_grows_no_further() {
    let server = Server::with(&["--save", "", "--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]);
    let log = AuditLog::new(connect(&server, None));
    let mut writer = Writer::default();
    append(&log, &mut writer, &entries(1..1001), 0, 100_000).await;
    let store = Store::new(connect(&server, None));
    let mut filled = 0;
    // Until there is no room for what is small either.
    for value in ["1".repeat(100_000), "1".into()] {
        until("a full Redis", async || {
            filled += 1;
            matches!(store.put(&format!("k{filled}"), &put(&value), &Condition::Any).await, Err(Error::Full))
        })
        .await;
    }
    for batch in 0..20 {
        let first = 1001 + batch * 100;
        append(&log, &mut writer, &entries(first..first + 100), 0, 100_000).await;
    }
    let page = log.page(None, 3).await.unwrap();
    assert_eq!(
        (numbers(&page.entries), page.total, page.counts.dropped),
        (vec![3000, 2999, 2998], 1000, 2000)
    );
}
