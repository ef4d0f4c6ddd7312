//! Writes that are acknowledged only when other members, or the disks, have them as well.
//!
//! Those who write at the same time are sent together, on a connection where nobody reads, with a question behind them how far
//! the primary is; then the other members are asked whether they are as far. Who comes meanwhile is in the next group. A read
//! that must not tell of what may be lost goes the same way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keystead_route::Durability;
use redis::{Cmd, Value, cmd};
use tokio::sync::{OnceCell, oneshot};

use super::{
    generation::Generation,
    inherit::{self, Mark},
    witnesses::Verdict,
};
use crate::{error::Failed, lines::Line};

/// How long the others have to confirm.
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes that are sent together, and most requests.
const GROUP_BYTES: usize = 256 * 1024;
const GROUP: usize = 128;

/// An answer for each command.
pub(crate) type Answers = Vec<Result<Value, Failed>>;

/// What makes a write last.
#[derive(Clone, Debug)]
pub(super) struct Confirm {
    durability: Durability,
    replicas: usize,
    /// Whether the Redis that is asked knows the command.
    is_known: OnceCell<bool>,
}

impl Confirm {
    /// None where the primary's own word is enough.
    pub(super) fn of(durability: Durability, members: usize) -> Option<Self> {
        // With the primary they are more than half.
        let replicas = if members > 1 { ((members - 1) / 2).max(1) } else { 0 };
        let is_needed = match durability {
            Durability::Async => false,
            Durability::Replicated => replicas > 0,
            Durability::Fsync => true,
        };
        is_needed.then(|| Self { durability, replicas, is_known: OnceCell::new() })
    }

    /// What is asked of the primary behind the writes.
    fn command(&self) -> Option<Cmd> {
        let milliseconds = u64::try_from(CONFIRM_WITHIN.as_millis()).unwrap_or(u64::MAX);
        (self.durability == Durability::Fsync)
            .then(|| cmd("WAITAOF").arg(1).arg(self.replicas).arg(milliseconds).clone())
    }

    /// Whether enough disks have it.
    fn is_on_disk(&self, answer: &Value) -> bool {
        let count = |value: &Value, least: usize| matches!(value, Value::Int(count) if usize::try_from(*count).is_ok_and(|count| count >= least));
        match answer {
            Value::Array(both) => {
                matches!(&both[..], [disk, replicas] if count(disk, 1) && count(replicas, self.replicas))
            }
            _ => false,
        }
    }

    /// Before the first write: a Redis that does not know the command would carry the write out all the same.
    async fn check(&self, line: &Line) -> Result<(), Failed> {
        if self.durability != Durability::Fsync {
            return Ok(());
        }
        let known = self.is_known.get_or_try_init(async || {
            match line.one(cmd("WAITAOF").arg(0).arg(0).arg(1)).await {
                Ok(_) => Ok(true),
                Err(Failed::Redis(error)) if error.is_io_error() => Err(Failed::not_sent(&error)),
                // The user's rules are being changed.
                Err(Failed::Redis(error)) if error.code() == Some("NOPERM") => {
                    Err(Failed::NotSent("WAITAOF is not allowed yet".into()))
                }
                Err(_) => Ok(false),
            }
        });
        match known.await? {
            true => Ok(()),
            false => Err(Failed::Impossible(
                "durability Fsync needs Redis 7.2 or later, and a user who may use WAITAOF; nothing was written",
            )),
        }
    }
}

/// The writes of one thread.
#[derive(Default)]
pub(super) struct Commit {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    is_running: bool,
}

struct Item {
    commands: Vec<Cmd>,
    answer: oneshot::Sender<Result<Answers, Failed>>,
}

impl Item {
    fn bytes(&self) -> usize {
        let arguments = self.commands.iter().flat_map(Cmd::args_iter);
        arguments.map(|it| if let redis::Arg::Simple(bytes) = it { bytes.len() + 16 } else { 16 }).sum()
    }

    fn refuse(self, why: &Failed) {
        // Who asked may have gone.
        let _ = self.answer.send(Err(why.clone()));
    }
}

impl Commit {
    /// Sends these with those of others, and gives the answers when all of it is confirmed.
    pub(super) async fn write(
        generation: &Arc<Generation>,
        lane: usize,
        commands: Vec<Cmd>,
    ) -> Result<Answers, Failed> {
        let (answer, answered) = oneshot::channel();
        let must_run = {
            let mut state = generation.commit(lane).open();
            state.queue.push_back(Item { commands, answer });
            !std::mem::replace(&mut state.is_running, true)
        };
        if must_run {
            tokio::spawn(run(generation.clone(), lane));
        }
        // A runtime that ends drops the task.
        answered.await.unwrap_or(Err(Failed::Unconfirmed))
    }

    /// The next to be sent together; none: from now on somebody else has to run.
    fn next(&self) -> Vec<Item> {
        let mut state = self.open();
        // Of those who have gone nothing was sent yet.
        state.queue.retain(|item| !item.answer.is_closed());
        let mut bytes = 0;
        let fitting = state.queue.iter().take(GROUP).take_while(|item| {
            let is_first = bytes == 0;
            bytes += item.bytes();
            is_first || bytes <= GROUP_BYTES
        });
        let count = fitting.count();
        let group: Vec<Item> = state.queue.drain(..count).collect();
        state.is_running = !group.is_empty();
        group
    }

    fn refuse_all(&self, why: &Failed) {
        let waiting = std::mem::take(&mut self.open().queue);
        for item in waiting {
            item.refuse(why);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends group after group until nobody waits any more.
async fn run(generation: Arc<Generation>, lane: usize) {
    let commit = generation.commit(lane);
    let over = Failed::NotSent("another member has become the primary".into());
    loop {
        let group = commit.next();
        if group.is_empty() {
            return;
        }
        let ready = tokio::select! {
            ready = generation.ready_to_write() => ready,
            () = generation.is_over() => Err(over.clone()),
        };
        let connected = match ready {
            Ok(connected) => connected,
            Err(why) => {
                for item in group {
                    item.refuse(&why);
                }
                commit.refuse_all(&why);
                continue;
            }
        };
        let exchange = send(&generation, &connected, group);
        tokio::pin!(exchange);
        tokio::select! {
            () = &mut exchange => {}
            () = generation.is_over() => {
                // Nothing was sent of those who wait; what was is answered, or not, by the member that was asked.
                commit.refuse_all(&over);
                exchange.await;
            }
        }
    }
}

async fn send(generation: &Generation, line: &Line, group: Vec<Item>) {
    let Some(confirm) = &generation.confirm else { return };
    let mut pipeline = redis::pipe();
    for command in group.iter().flat_map(|item| &item.commands) {
        pipeline.add_command(command.clone());
    }
    pipeline.add_command(cmd("ROLE"));
    if let Some(command) = confirm.command() {
        pipeline.add_command(command);
    }
    match line.all(&pipeline).await {
        Err(failed) => {
            for item in group {
                item.refuse(&failed);
            }
        }
        Ok(mut answers) => {
            let is_on_disk = match confirm.durability {
                Durability::Fsync => confirm.is_on_disk(&answers.pop().unwrap_or(Value::Nil)),
                _ => true,
            };
            let role = answers.pop().unwrap_or(Value::Nil);
            let is_met = is_on_disk && generation.is_confirmed(confirm, line, &role).await;
            let mut answers = answers.into_iter().map(|answer| match answer.extract_error() {
                Err(refused) => Err(Failed::Redis(refused)),
                Ok(_) if !is_met => Err(Failed::Unconfirmed),
                Ok(answer) => Ok(answer),
            });
            for item in group {
                let own: Answers = answers.by_ref().take(item.commands.len()).collect();
                generation.count(&own);
                let _ = item.answer.send(Ok(own));
            }
        }
    }
}

impl Generation {
    /// A connection on which a write lasts.
    async fn ready_to_write(&self) -> Result<Arc<Line>, Failed> {
        let line = self.writes.line().await?;
        if let Some(confirm) = &self.confirm {
            confirm.check(&line).await?;
            if confirm.replicas > 0 {
                line.history.get_or_try_init(|| inherit::history(&line)).await?;
            }
        }
        Ok(line)
    }

    /// Whether the other members have everything up to here, or the next primary has, where there is one by now.
    async fn is_confirmed(&self, confirm: &Confirm, line: &Line, role: &Value) -> bool {
        if confirm.replicas == 0 {
            return true;
        }
        let (Some(group), Some(history)) = (self.group.upgrade(), line.history.get()) else { return false };
        let Some(offset) = inherit::offset(role) else {
            // It has handed over between the first of the writes and the question.
            let offset = inherit::last_offset(line, history, CONFIRM_WITHIN).await;
            let mark = offset.map(|offset| Mark { history: history.clone(), offset });
            return match mark {
                Some(mark) => group.is_inherited(self, &mark, confirm.replicas).await,
                None => false,
            };
        };
        let mark = Mark { history: history.clone(), offset };
        match self.witnesses.confirm(&self.address, &mark, confirm.replicas, CONFIRM_WITHIN).await {
            Verdict::Confirmed => true,
            Verdict::TooFew => false,
            Verdict::Replaced => {
                confirm.durability == Durability::Replicated
                    && group.is_inherited(self, &mark, confirm.replicas).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_the_members_have_to_confirm() {
        let replicas = |durability, members| Confirm::of(durability, members).map(|it| it.replicas);
        assert_eq!(replicas(Durability::Async, 3), None);
        for (members, least) in [(2, 1), (3, 1), (4, 1), (5, 2), (7, 3)] {
            assert_eq!(replicas(Durability::Replicated, members), Some(least), "{members}");
        }
        assert_eq!(replicas(Durability::Replicated, 1), None, "there is nobody else");
        assert_eq!(replicas(Durability::Fsync, 1), Some(0));
    }

    #[test]
    fn fewer_disks_than_it_takes_are_not_enough() {
        let both = |disk, replicas| Value::Array(vec![Value::Int(disk), Value::Int(replicas)]);
        let disk = Confirm::of(Durability::Fsync, 3).unwrap();
        assert!(
            disk.is_on_disk(&both(1, 1)) && !disk.is_on_disk(&both(0, 2)) && !disk.is_on_disk(&both(1, 0))
        );
        assert!(!disk.is_on_disk(&Value::Int(5)));
    }
}
