//! Reads that a replica may answer: from one that follows the primary, at once or not at all.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, Value, cmd};

use super::{
    primary::{Role, role_of},
    roster::{Roster, Source},
};
use crate::{
    error::{Failed, is_unknown_script},
    lines::Lines,
    options::ConnectOptions,
};

/// How long a replica has before the primary is asked.
const WITHIN: Duration = Duration::from_millis(100);
/// How long one is left alone that did not answer in time, or must not answer.
const REST: Duration = Duration::from_secs(1);
/// How long connections to readers are used, and up to as long again: behind their one address a connection stays with the
/// reader that it began with, also when the autoscaler has brought more of them.
const LIFE: Duration = Duration::from_secs(15);

pub(super) struct Replicas {
    options: Arc<ConnectOptions>,
    addresses: Vec<String>,
    /// Whom a reader may follow: it follows a replica.
    members: Vec<String>,
    /// Whether a member of a cluster has to be told that it may answer though it is no primary.
    is_clustered: bool,
    /// Where to begin.
    turn: AtomicUsize,
    known: Mutex<HashMap<String, Replica>>,
}

#[derive(Clone)]
struct Replica {
    lines: Arc<Lines>,
    /// None: as long as they last.
    ends: Option<Instant>,
    rests_until: Option<Instant>,
}

impl Replicas {
    pub(super) fn new(roster: &Roster, options: &Arc<ConnectOptions>) -> Self {
        let (addresses, members) = match (&roster.source, &roster.readers) {
            (Source::Alone, _) => (Vec::new(), Vec::new()),
            (_, Some(readers)) => (vec![readers.clone()], roster.members.clone()),
            (_, None) => (roster.members.clone(), Vec::new()),
        };
        Self {
            options: options.clone(),
            addresses,
            members,
            is_clustered: matches!(roster.source, Source::Cluster(_)),
            turn: AtomicUsize::new(0),
            known: Mutex::default(),
        }
    }

    /// The answer of the next one; none where it is not a replica of this primary, or slow.
    pub(super) async fn ask(&self, primary: &str, command: &Cmd, load: Option<&Cmd>) -> Option<Value> {
        let (address, lines) = self.next(primary)?;
        let answer = tokio::time::timeout(WITHIN, self.ask_one(&lines, primary, command, load)).await;
        match answer {
            Ok(Ok(answer)) => Some(answer),
            // It follows, and says no.
            Ok(Err(Failed::Redis(error))) if error.code().is_some() => None,
            _ => {
                let now = Instant::now();
                if let Some(replica) = self.known().get_mut(&address) {
                    replica.rests_until = Some(now + REST);
                    // Another reader may answer then.
                    replica.ends = replica.ends.map(|_| now + REST);
                }
                None
            }
        }
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        self.known().clear();
    }

    /// With each read it says whom it follows: one that has lost its primary, or follows another, is not believed.
    async fn ask_one(
        &self,
        lines: &Lines,
        primary: &str,
        command: &Cmd,
        load: Option<&Cmd>,
    ) -> Result<Value, Failed> {
        let line = lines.line().await?;
        let mut questions = redis::pipe();
        if self.is_clustered {
            questions.add_command(cmd("READONLY"));
        }
        questions.add_command(cmd("ROLE")).add_command(command.clone());
        let stranger = || Failed::NotSent("it does not follow the primary".into());
        for _ in 0..2 {
            let mut answers = line.all(&questions).await?;
            let (Some(answer), Some(Value::Array(role))) = (answers.pop(), answers.pop()) else {
                return Err(stranger());
            };
            let Some(Role::Replica { of, is_connected: true }) = role_of(&role) else {
                return Err(stranger());
            };
            if of != primary && !self.members.contains(&of) {
                return Err(stranger());
            }
            match answer.extract_error() {
                Err(error) if is_unknown_script(&error) => {
                    let Some(load) = load else { return Err(error.into()) };
                    line.one(load).await?;
                }
                answer => return Ok(answer?),
            }
        }
        Err(stranger())
    }

    fn next(&self, primary: &str) -> Option<(String, Arc<Lines>)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known();
        let count = self.addresses.len();
        let others = (0..count).filter_map(|step| self.addresses.get(turn.wrapping_add(step) % count));
        for address in others.filter(|address| *address != primary) {
            let now = Instant::now();
            let is_over = |replica: &Replica| replica.ends.is_some_and(|ends| ends <= now);
            if known.get(address).is_none_or(is_over) {
                let lines = Lines::to(&self.options, address, WITHIN).ok()?;
                let ends = (!self.members.is_empty()).then(|| now + life());
                known.insert(address.clone(), Replica { lines: Arc::new(lines), ends, rests_until: None });
            }
            let replica = known.get(address)?;
            if replica.rests_until.is_none_or(|until| until <= now) {
                return Some((address.clone(), replica.lines.clone()));
            }
        }
        None
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Replica>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not the same everywhere, so that not all gateways change at once.
fn life() -> Duration {
    LIFE + Duration::from_millis(RandomState::new().build_hasher().finish() % 15_000)
}
