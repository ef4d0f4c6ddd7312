//! Several real Redis with the users that they have in a cluster, and a client that remembers what it was told.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use keystead_kv::{Condition, ConnectOptions, Connection, Error, Store, acl};
use keystead_route::{Durability, Endpoint};
use keystead_tests::replicated::Replicated;
use tokio::task::JoinHandle;

use super::{PASSWORD, put};

const PATIENCE: Duration = Duration::from_secs(20);

pub fn group() -> Replicated {
    Replicated::start(
        3,
        &[
            &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
            &format!("user worker on >{PASSWORD} {}", acl::WORKER),
        ],
        &[
            &format!("user gateway on >{PASSWORD} {}", acl::SENTINEL_CLIENT),
            &format!("user worker on >{PASSWORD} {}", acl::SENTINEL_CLIENT),
        ],
    )
}

pub fn options(endpoint: Endpoint, durability: Durability) -> ConnectOptions {
    let mut options = ConnectOptions::new(endpoint, Some("gateway".into()), Some(PASSWORD.into()));
    options.durability = durability;
    options
}

/// What is not executed is tried again for as long as a failover may take on a machine that is busy with other tests.
pub fn patient(mut options: ConnectOptions) -> Connection {
    (options.hold, options.write_timeout) = (PATIENCE, PATIENCE);
    Connection::open(options).unwrap()
}

pub fn connect(group: &Replicated, durability: Durability) -> Connection {
    Connection::open(options(group.endpoint(), durability)).unwrap()
}

/// Many who write all the time, and remember what was acknowledged.
pub struct Writers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// By key the last number that was acknowledged.
    acknowledged: Mutex<HashMap<String, u64>>,
    errors: Mutex<Vec<Error>>,
    done: AtomicUsize,
    last: Mutex<Option<Instant>>,
    gap: Mutex<Duration>,
    /// When the longest gap ended.
    resumed: Mutex<Option<Instant>>,
    is_over: AtomicBool,
}

/// What came of it.
pub struct Written {
    pub acknowledged: HashMap<String, u64>,
    pub errors: Vec<Error>,
    /// The longest time in which nobody was told of a success.
    pub gap: Duration,
    pub resumed: Option<Instant>,
    pub count: usize,
}

impl Writers {
    pub async fn start(store: &Store, count: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let tasks = (0..count).map(|writer| {
            let (store, shared) = (store.clone(), shared.clone());
            tokio::spawn(async move {
                let key = format!("writer-{writer}");
                let mut number = 0;
                while !shared.is_over.load(Ordering::Relaxed) {
                    number += 1;
                    match store.put(&key, &put(&number.to_string()), &Condition::Any).await {
                        Ok(_) => shared.succeeded(&key, number),
                        Err(error) => shared.errors.lock().unwrap().push(error),
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        });
        let this = Self { tasks: tasks.collect(), shared };
        this.more(100).await;
        // What it takes to begin is no gap.
        *this.shared.gap.lock().unwrap() = Duration::ZERO;
        this
    }

    /// Waits for so many more successes.
    pub async fn more(&self, count: usize) {
        let (begun, started) = (self.shared.done.load(Ordering::Relaxed), Instant::now());
        while self.shared.done.load(Ordering::Relaxed) < begun + count {
            let errors =
                || self.shared.errors.lock().unwrap().iter().rev().take(3).cloned().collect::<Vec<_>>();
            assert!(started.elapsed() < Duration::from_secs(40), "no writes: {:?}", errors());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn end(self) -> Written {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let take = |shared: &Shared| Written {
            acknowledged: shared.acknowledged.lock().unwrap().clone(),
            errors: shared.errors.lock().unwrap().clone(),
            gap: *shared.gap.lock().unwrap(),
            resumed: *shared.resumed.lock().unwrap(),
            count: shared.done.load(Ordering::Relaxed),
        };
        take(&self.shared)
    }
}

impl Shared {
    fn succeeded(&self, key: &str, number: u64) {
        self.acknowledged.lock().unwrap().insert(key.to_owned(), number);
        self.done.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        if let Some(before) = self.last.lock().unwrap().replace(now) {
            let mut gap = self.gap.lock().unwrap();
            if now - before > *gap {
                *gap = now - before;
                *self.resumed.lock().unwrap() = Some(now);
            }
        }
    }
}

impl Written {
    /// Each key has the last number that was acknowledged, or a later one whose answer was lost.
    pub async fn is_all_there(&self, store: &Store) {
        for (key, number) in &self.acknowledged {
            let entry = store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is gone"));
            let found: u64 = String::from_utf8_lossy(&entry.value).parse().unwrap();
            assert!(found >= *number, "{key}: {number} was acknowledged, {found} is there");
        }
    }

    pub fn say(&self, what: &str) {
        let mut kinds: HashMap<String, usize> = HashMap::new();
        for error in &self.errors {
            *kinds.entry(error.to_string()).or_default() += 1;
        }
        eprintln!("{what}: {} writes, longest gap {:?}, failed {kinds:?}", self.count, self.gap);
    }
}
