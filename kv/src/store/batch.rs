//! Many operations in one round trip.

use redis::{FromRedisValue as _, Value, cmd};

use super::{Condition, Outcome, Put, Store, Written, delete_call, deleted, entry, written};
use crate::{
    entry::Entry,
    error::{Effect, Error},
};

/// One of a batch.
#[derive(Clone, Debug)]
pub enum Operation {
    Get { key: String },
    Put { key: String, put: Put },
    Delete { key: String },
}

/// Bytes of entries that one batch reads at most, which its reads share.
const ROOM: usize = 32 * 1024 * 1024;
/// What each may have in any case.
const LEAST_ROOM: usize = 32 * 1024;

/// What one of a batch came to.
#[derive(Clone, Debug)]
pub enum Done {
    Got(Option<Entry>),
    /// The entry has more bytes than a batch of so many reads has room for.
    TooLarge {
        room: usize,
    },
    Put(Written),
    /// Whether the key was there.
    Deleted(bool),
}

impl Store {
    /// Carries out each in order, whatever becomes of the others; a result for each. They are not one transaction:
    /// what others do may come in between.
    pub async fn batch(&self, operations: &[Operation]) -> Result<Vec<Result<Done, Error>>, Error> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let gets = operations.iter().filter(|operation| matches!(operation, Operation::Get { .. })).count();
        let room = (ROOM / gets.max(1)).max(LEAST_ROOM);
        let (mut pipeline, mut scripts) = (redis::pipe(), Vec::new());
        let mut effect = Effect::Read;
        for operation in operations {
            let call = match operation {
                Operation::Get { key } => {
                    // One byte more shows that there is more.
                    let read = cmd("GETRANGE").arg(entry(key)).arg(0).arg(room).clone();
                    pipeline.add_command(read);
                    continue;
                }
                Operation::Put { key, put } => self.put_call(key, put, &Condition::Any)?,
                Operation::Delete { key } => delete_call(key, &Condition::Any),
            };
            effect = Effect::Write;
            scripts.push(call.script());
            pipeline.add_command(call.into_command());
        }
        let answers = self.connection.pipeline(&pipeline, scripts, effect).await;
        for operation in operations {
            if let Operation::Put { key, .. } | Operation::Delete { key } = operation {
                self.changed(key);
            }
        }
        Ok(operations
            .iter()
            .zip(answers?)
            .map(|(operation, answer)| self.done(operation, answer?, room))
            .collect())
    }

    fn done(&self, operation: &Operation, answer: Value, room: usize) -> Result<Done, Error> {
        match operation {
            Operation::Get { key } => {
                let bytes = Vec::<u8>::from_redis_value(answer)
                    .map_err(|_| Error::Refused("an answer of an unexpected type".into()))?;
                match bytes.len() {
                    0 => Ok(Done::Got(None)),
                    length if length > room => Ok(Done::TooLarge { room }),
                    _ => Ok(Done::Got(Some(self.decode(key, bytes)?))),
                }
            }
            Operation::Put { .. } => match written(answer)? {
                Outcome::Done(written) => Ok(Done::Put(written)),
                Outcome::Refused { .. } => Err(Error::Refused("a write without a condition".into())),
            },
            Operation::Delete { .. } => Ok(Done::Deleted(matches!(deleted(answer)?, Outcome::Done(())))),
        }
    }
}
