//! Writes and reads all the time, from several threads, and keeps what came of each request.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use keystead_e2e::within;
use serde_json::json;

use crate::{
    client::{Client, Performed, Target},
    operation::{Action, Operation, Outcome},
};

/// Keys of one writer of counters.
const KEYS: usize = 16;
/// Operations on one register before its clients go to the next: what is checked as one stays small.
const REGISTER_OPERATIONS: u64 = 250;
/// Each unknown write on a register doubles what the check has to look at.
const REGISTER_UNKNOWNS: u64 = 6;

/// How much is done at once.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients that write rising numbers, each to keys of its own.
    pub writers: u32,
    /// Groups of clients that share one register at a time.
    pub groups: u32,
    pub clients_per_group: u32,
    /// Between an answer and the client's next request.
    pub pause: Duration,
    /// A request without an answer by then is given up; longer than a gateway's own deadline.
    pub timeout: Duration,
    /// What all keys begin with: new ones for each recording.
    pub prefix: String,
}

impl Plan {
    /// About a thousand requests a second, which leave the rest of a small machine to what is tested.
    pub fn of(prefix: &str) -> Self {
        Self {
            writers: 4,
            groups: 2,
            clients_per_group: 3,
            pause: Duration::from_millis(5),
            timeout: Duration::from_secs(8),
            prefix: prefix.to_owned(),
        }
    }
}

/// Threads that write and read until they are stopped.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    target: Target,
    plan: Plan,
    counters: Vec<JoinHandle<Vec<Operation>>>,
    registers: Vec<JoinHandle<Vec<Operation>>>,
}

/// All that was recorded, with what was there afterwards.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Writes of rising numbers, a writer for each key.
    pub counters: Vec<Operation>,
    /// Reads, writes and compare-and-set on shared keys, each key read once more at the end.
    pub registers: Vec<Operation>,
    /// What the counters' keys held at the end; keys that were not there are left out.
    pub found: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    stop: AtomicBool,
    /// The next number that nobody has written yet.
    number: AtomicU64,
    acknowledged: AtomicU64,
    log: Mutex<File>,
}

/// What the clients of one register share.
#[derive(Debug, Default)]
struct Register {
    operations: AtomicU64,
    /// Unknown writes by place.
    unknowns: Mutex<BTreeMap<u64, u64>>,
}

impl Recorder {
    /// Begins. Each acknowledged write is also a line of the file `log`, which outlives a test that is killed.
    pub fn start(target: &Target, plan: &Plan, log: &Path) -> Self {
        fs::create_dir_all(log.parent().expect("a file in a folder")).expect("making the folder of the log");
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            number: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            log: Mutex::new(File::create(log).expect("making the log")),
        });
        let client = |id| Client::new(id, target, plan.timeout, shared.begun);
        let counters = (0..plan.writers)
            .map(|id| {
                let (shared, plan, client) = (shared.clone(), plan.clone(), client(id));
                thread::spawn(move || count(&shared, &plan, &client, id))
            })
            .collect();
        let registers = (0..plan.groups)
            .flat_map(|group| {
                let register = Arc::new(Register::default());
                (0..plan.clients_per_group).map(move |member| (group, member, register.clone()))
            })
            .map(|(group, member, register)| {
                let client = client(plan.writers + group * plan.clients_per_group + member);
                let (shared, plan) = (shared.clone(), plan.clone());
                thread::spawn(move || contend(&shared, &plan, &client, group, &register))
            })
            .collect();
        Self { shared, target: target.clone(), plan: plan.clone(), counters, registers }
    }

    /// Nanoseconds since it began: the clock of what it records.
    pub fn now(&self) -> u64 {
        u64::try_from(self.shared.begun.elapsed().as_nanos()).expect("centuries")
    }

    /// Waits until this many more writes are acknowledged.
    pub fn await_acknowledged(&self, more: u64) {
        let wanted = self.shared.acknowledged.load(Relaxed) + more;
        within(Duration::from_mins(2), "writes are acknowledged", || {
            let acknowledged = self.shared.acknowledged.load(Relaxed);
            if acknowledged >= wanted { Ok(()) } else { Err(format!("{acknowledged} of {wanted}")) }
        });
    }

    /// Stops, and reads every key once more.
    pub fn stop(mut self) -> Recording {
        self.shared.stop.store(true, Relaxed);
        let join = |threads: &mut Vec<JoinHandle<Vec<Operation>>>| -> Vec<Operation> {
            threads.drain(..).flat_map(|thread| thread.join().expect("a client ends well")).collect()
        };
        let (counters, mut registers) = (join(&mut self.counters), join(&mut self.registers));
        let keys = |operations: &[Operation]| -> BTreeSet<String> {
            operations.iter().map(|operation| operation.key.clone()).collect()
        };
        let id = self.plan.writers + self.plan.groups * self.plan.clients_per_group;
        let reader = Client::new(id, &self.target, self.plan.timeout, self.shared.begun);
        let mut found = BTreeMap::new();
        for key in keys(&counters) {
            if let Outcome::Seen(number @ 1..) = read(&reader, &key).outcome {
                found.insert(key, number);
            }
        }
        registers.extend(keys(&registers).iter().map(|key| read(&reader, key)));
        Recording { counters, registers, found }
    }
}

impl Recording {
    /// Counters' and registers' operations.
    pub fn operations(&self) -> Vec<Operation> {
        [&self.counters[..], &self.registers[..]].concat()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.counters.drain(..).chain(self.registers.drain(..)) {
            // Its panic, if it had one, is not what the test failed of.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Relaxed)
    }

    fn keep(&self, kept: &mut Vec<Operation>, operation: Operation) {
        if operation.is_acknowledged_write() {
            self.acknowledged.fetch_add(1, Relaxed);
            let line = json!({
                "key": operation.key, "number": operation.action.input(),
                "call": operation.call, "returned": operation.returned,
            });
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.write_all(format!("{line}\n").as_bytes()).expect("writing the log");
        }
        kept.push(operation);
    }
}

impl Register {
    /// Which register this operation is on.
    fn place(&self) -> u64 {
        self.operations.fetch_add(1, Relaxed) / REGISTER_OPERATIONS
    }

    /// A register with many unknown writes is left.
    fn unknown(&self, place: u64) {
        let mut unknowns = self.unknowns.lock().unwrap_or_else(PoisonError::into_inner);
        let count = unknowns.entry(place).or_default();
        *count += 1;
        if *count >= REGISTER_UNKNOWNS {
            self.operations.fetch_max((place + 1) * REGISTER_OPERATIONS, Relaxed);
        }
    }
}

/// Writes rising numbers in turn to keys of its own; a key with a write of unknown outcome is left for another.
fn count(shared: &Shared, plan: &Plan, client: &Client, id: u32) -> Vec<Operation> {
    let mut kept = Vec::new();
    let mut generations = [0_u32; KEYS];
    for slot in (0..KEYS).cycle() {
        if shared.stop.load(Relaxed) {
            break;
        }
        let key = format!("{}counter-{id}-{slot}-{}", plan.prefix, generations[slot]);
        let Performed { operation, .. } =
            client.perform(&key, Action::Write { input: shared.next_number() }, None);
        if operation.outcome == Outcome::Unknown {
            generations[slot] += 1;
        }
        shared.keep(&mut kept, operation);
        thread::sleep(plan.pause);
    }
    kept
}

/// Reads, writes and swaps one register that others use too, then the next.
fn contend(shared: &Shared, plan: &Plan, client: &Client, group: u32, register: &Register) -> Vec<Operation> {
    let mut kept = Vec::new();
    // The number last seen under the key in use, and its ETag.
    let mut last: Option<(String, u64, String)> = None;
    for turn in 0_u64.. {
        if shared.stop.load(Relaxed) {
            break;
        }
        let place = register.place();
        let key = format!("{}register-{group}-{place}", plan.prefix);
        let seen = last.as_ref().filter(|(of, _, _)| *of == key);
        let (action, etag) = match (turn % 4, seen) {
            (1, _) => (Action::Write { input: shared.next_number() }, None),
            (3, Some((_, expected, etag))) => {
                (Action::Cas { expected: *expected, input: shared.next_number() }, Some(etag.as_str()))
            }
            _ => (Action::Read, None),
        };
        let Performed { operation, etag } = client.perform(&key, action, etag);
        let number = match operation.outcome {
            Outcome::Seen(number) => Some(number),
            Outcome::Done => operation.action.input(),
            Outcome::Unknown if action != Action::Read => {
                register.unknown(place);
                None
            }
            _ => None,
        };
        last = number.zip(etag).map(|(number, etag)| (key, number, etag));
        shared.keep(&mut kept, operation);
        thread::sleep(plan.pause);
    }
    kept
}

/// Reads until there is an answer.
fn read(client: &Client, key: &str) -> Operation {
    within(Duration::from_mins(1), "the key is read", || {
        let operation = client.perform(key, Action::Read, None).operation;
        if matches!(operation.outcome, Outcome::Seen(_)) { Ok(operation) } else { Err(operation) }
    })
}
