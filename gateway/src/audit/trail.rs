//! One tenant's records on their way to its Redis: noted in memory, where so many have room, and written by a task.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::http::HeaderValue;
use keystead_kv::{
    Connection, Error,
    audit::{AuditLog, NewEntry, Writer},
};
use tokio::{sync::Notify, task::JoinHandle, time::sleep};

use super::Touched;
use crate::{auth::Principal, telemetry::Operations};

/// Records of one tenant that wait in one gateway: beyond that the oldest are dropped, and counted.
const MAX_WAITING: usize = 10_000;
/// How long records are collected before they are written together.
const COLLECT: Duration = Duration::from_millis(50);
/// Records that are written at once: well under a millisecond each hundred, for which others wait at that Redis.
const BATCH: usize = 200;
/// Between two attempts, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Who has asked for something.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Principal(Principal),
    /// The account that was logged in to, or tried; none: there is none of that name.
    Account(Option<String>),
}

/// What is noted of a request that was answered.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) who: Who,
    pub(crate) operation: &'static str,
    pub(crate) touched: Touched,
    pub(crate) status: u16,
    pub(crate) request_id: HeaderValue,
    pub(crate) answered: Instant,
}

/// One tenant's records. When it is dropped, what waits is written if that works at once.
#[derive(Debug)]
pub(crate) struct Trail {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Told of the first record that waits, and of the end.
    called: Notify,
    operations: Arc<Operations>,
}

#[derive(Debug)]
struct Waiting {
    records: VecDeque<Record>,
    /// Since the last batch.
    dropped: u64,
    log: AuditLog,
    /// Entries that the log keeps.
    bound: u64,
    has_ended: bool,
}

impl Trail {
    /// One that writes to this Redis, by a task of the current runtime.
    pub(crate) fn start(connection: Connection, bound: u64, operations: Arc<Operations>) -> Arc<Self> {
        let waiting = Waiting {
            records: VecDeque::new(),
            dropped: 0,
            log: AuditLog::new(connection),
            bound,
            has_ended: false,
        };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), called: Notify::new(), operations });
        let task = Mutex::new(Some(tokio::spawn(write_all(shared.clone()))));
        Arc::new(Self { shared, task })
    }

    /// Has it write there from now on.
    pub(crate) fn turn_to(&self, connection: Connection, bound: u64) {
        let mut waiting = self.shared.lock();
        (waiting.log, waiting.bound) = (AuditLog::new(connection), bound);
    }

    /// Notes a record; nobody waits for it.
    pub(crate) fn note(&self, record: Record) {
        let mut waiting = self.shared.lock();
        if waiting.records.len() == MAX_WAITING {
            waiting.records.pop_front();
            waiting.dropped += 1;
            self.shared.operations.count_audit_dropped(1);
        }
        waiting.records.push_back(record);
        let is_first = waiting.records.len() == 1;
        drop(waiting);
        if is_first {
            self.shared.called.notify_one();
        }
    }

    /// Writes what waits, as far as that works at once.
    pub(crate) async fn end(&self) {
        self.shared.end();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It does not panic, and nobody aborts it.
            let _ = task.await;
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().has_ended = true;
        self.called.notify_one();
    }

    /// Counts a batch that could not be written at the end, and all behind it.
    fn drop_all(&self, records: usize) {
        let behind = self.lock().records.drain(..).count();
        self.operations.count_audit_dropped((records + behind) as u64);
    }

    /// The oldest records, and how many were dropped before them.
    fn take(&self) -> Option<(Vec<Record>, u64)> {
        let mut waiting = self.lock();
        let count = waiting.records.len().min(BATCH);
        let records: Vec<Record> = waiting.records.drain(..count).collect();
        (count > 0).then(|| (records, std::mem::take(&mut waiting.dropped)))
    }
}

async fn write_all(shared: Arc<Shared>) {
    let mut writer = Writer::default();
    loop {
        shared.called.notified().await;
        if !shared.lock().has_ended {
            sleep(COLLECT).await;
        }
        while let Some((records, dropped)) = shared.take() {
            if !write(&shared, &writer, &records, dropped).await {
                shared.drop_all(records.len());
                return;
            }
            writer.next();
        }
        if shared.lock().has_ended {
            return;
        }
    }
}

/// Writes a batch, as often as it takes; false where that is too long for the end.
async fn write(shared: &Shared, writer: &Writer, records: &[Record], dropped: u64) -> bool {
    let mut pause = PAUSES.0;
    loop {
        let (log, bound) = {
            let waiting = shared.lock();
            (waiting.log.clone(), waiting.bound)
        };
        let entries: Vec<NewEntry<'_>> = records.iter().map(Record::entry).collect();
        match log.append(writer, &entries, dropped, bound).await {
            Ok(()) => return true,
            Err(error) if shared.lock().has_ended => {
                tracing::warn!(%error, entries = records.len(), "entries of the audit log are lost");
                return false;
            }
            // A Redis whose users do not know of the log yet, as after an upgrade; or a fault of ours.
            Err(error @ Error::Refused(_)) => tracing::error!(%error, "entries of the audit log wait"),
            Err(error) => tracing::debug!(%error, "entries of the audit log wait"),
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.called.notified() => {}
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

impl Record {
    fn entry(&self) -> NewEntry<'_> {
        let (key, target, items) = match &self.touched {
            Touched::Nothing => (None, None, None),
            Touched::Key(key) => (Some(Cow::Borrowed(key.as_str())), None, None),
            Touched::Target(target) => (None, Some(Cow::Borrowed(target.as_str())), None),
            Touched::Items(items) => (None, None, Some(*items)),
        };
        NewEntry {
            principal: match &self.who {
                Who::Principal(principal) => Some(principal.name()),
                Who::Account(name) => name.as_deref().map(Cow::Borrowed),
            },
            operation: self.operation.into(),
            key,
            target,
            items,
            status: self.status,
            request_id: self.request_id.to_str().unwrap_or_default().into(),
            age: u64::try_from(self.answered.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
