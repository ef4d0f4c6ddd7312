//! Many operations in one round trip.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
};

use redis::{FromRedisValue as _, Value, cmd};

use super::{Condition, Outcome, Put, Store, Written, deleted, place, tag, written};
use crate::{
    entry::Entry,
    error::{Effect, Error},
    script::{self, Call},
};

/// One of a batch.
#[derive(Clone, Debug)]
pub enum Operation {
    Get { key: String },
    Put { key: String, put: Put },
    Delete { key: String },
}

impl Operation {
    fn key(&self) -> &str {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
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

/// Most puts that one script call does, and the bytes of their values: Redis is asked for room once, before the first.
const PUTS: usize = 50;
const PUT_BYTES: usize = 64 * 1024;

impl Store {
    /// Carries out each in order, whatever becomes of the others; a result for each. They are not one transaction:
    /// what others do may come in between. In a cluster it is those of one key that are carried out in order.
    pub async fn batch(&self, operations: &[Operation]) -> Result<Vec<Result<Done, Error>>, Error> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let gets = operations.iter().filter(|operation| matches!(operation, Operation::Get { .. })).count();
        let room = (ROOM / gets.max(1)).max(LEAST_ROOM);
        if self.buckets.len() == 1 {
            return self.exchange(operations, room).await;
        }
        let mut results: Vec<Option<Result<Done, Error>>> = vec![None; operations.len()];
        for places in self.rounds(operations) {
            let round: Vec<&Operation> = places.iter().filter_map(|place| operations.get(*place)).collect();
            // What was carried out is told, whatever becomes of the rest.
            let done = match self.exchange(&round, room).await {
                Ok(done) => done,
                Err(error) => vec![Err(error); places.len()],
            };
            for (place, done) in places.into_iter().zip(done) {
                results[place] = Some(done);
            }
        }
        Ok(results.into_iter().map(|done| done.unwrap_or_else(|| Err(unexpected()))).collect())
    }

    /// Places of operations whose order does not matter: in each round a key is there once. Those of a bucket stand side by side.
    fn rounds(&self, operations: &[Operation]) -> Vec<Vec<usize>> {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut rounds: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, operation) in operations.iter().enumerate() {
            let round = seen.entry(operation.key()).or_default();
            rounds.entry(*round).or_default().push(at);
            *round += 1;
        }
        let order = |at: &usize| {
            let operation = &operations[*at];
            (place(operation.key(), self.buckets.len()), matches!(operation, Operation::Put { .. }), *at)
        };
        rounds
            .into_values()
            .map(|mut places| {
                places.sort_by_key(order);
                places
            })
            .collect()
    }

    /// Sends them all at once.
    async fn exchange<O: Borrow<Operation>>(
        &self,
        operations: &[O],
        room: usize,
    ) -> Result<Vec<Result<Done, Error>>, Error> {
        let most = self.most_keys().await?;
        let (mut pipeline, mut scripts) = (redis::pipe(), Vec::new());
        let mut effect = Effect::Read;
        // How many operations each command carries out.
        let mut steps = Vec::new();
        let mut rest = operations;
        while let [operation, others @ ..] = rest {
            let (call, step) = match operation.borrow() {
                Operation::Get { key } => {
                    // One byte more shows that there is more.
                    let read = cmd("GETRANGE").arg(self.entry(key)).arg(0).arg(room).clone();
                    pipeline.add_command(read);
                    steps.push(1);
                    rest = others;
                    continue;
                }
                Operation::Put { .. } => {
                    let puts = self.leading_puts(rest);
                    (self.puts_call(&puts, most)?, puts.len())
                }
                Operation::Delete { key } => (self.delete_call(key, &Condition::Any), 1),
            };
            effect = Effect::Write;
            scripts.push(call.script);
            pipeline.add_command(call.command);
            steps.push(step);
            rest = rest.get(step..).unwrap_or_default();
        }
        let answers = self.connection.pipeline(&pipeline, scripts, effect).await;
        for operation in operations {
            if let Operation::Put { key, .. } | Operation::Delete { key } = operation.borrow() {
                self.changed(key);
            }
        }
        let mut results = Vec::with_capacity(operations.len());
        for (step, answer) in steps.into_iter().zip(answers?) {
            let those = operations.get(results.len()..results.len() + step).unwrap_or_default();
            match those.first().map(Borrow::borrow) {
                Some(Operation::Get { key }) => {
                    results.push(answer.and_then(|answer| self.got(key, answer, room)));
                }
                Some(Operation::Delete { .. }) => results.push(answer.and_then(delete_done)),
                _ => results.extend(puts_done(those.len(), answer)),
            }
        }
        for done in &results {
            if let Ok(Done::Put(written)) = done {
                self.has_written(written);
            }
        }
        Ok(results)
    }

    fn puts_call(&self, puts: &[(&str, &Put)], most: i64) -> Result<Call, Error> {
        let bucket = self.bucket(puts.first().map_or("", |(key, _)| key));
        let forms: Vec<_> = puts.iter().map(|(key, put)| self.form(key, put)).collect::<Result<_, _>>()?;
        let entries: Vec<String> = puts.iter().map(|(key, _)| self.entry(key)).collect();
        let mut keys: Vec<&[u8]> = vec![&bucket.index, &bucket.expiry, &bucket.tags_of];
        keys.extend(entries.iter().map(String::as_bytes));
        let bytes = forms.iter().map(|form| form.value.len() + 128).sum();
        let mut call = Call::sized(&script::WRITE_MANY, &keys, bytes);
        call.arg(&*bucket.tag_set).arg(most);
        for ((key, put), form) in puts.iter().zip(&forms) {
            call.arg(key).arg(put.ttl.milliseconds()).arg(&form.meta).arg(&form.value[..]).arg(form.flags);
            call.arg(put.tags.len());
            for (name, value) in &put.tags {
                call.arg(tag(name, value));
            }
        }
        Ok(call)
    }

    /// The puts with which these begin, as many as one script call may do.
    fn leading_puts<'a, O: Borrow<Operation>>(&self, operations: &'a [O]) -> Vec<(&'a str, &'a Put)> {
        let place = |key: &str| place(key, self.buckets.len());
        let first = operations.first().map(|operation| place(operation.borrow().key()));
        let mut bytes = 0;
        let puts = operations.iter().take(PUTS).map_while(|operation| match operation.borrow() {
            Operation::Put { key, put } if Some(place(key)) == first => Some((key.as_str(), put)),
            _ => None,
        });
        // One alone may be larger.
        puts.enumerate()
            .take_while(|(place, (_, put))| {
                bytes += put.value.len();
                *place == 0 || bytes <= PUT_BYTES
            })
            .map(|(_, put)| put)
            .collect()
    }

    fn got(&self, key: &str, answer: Value, room: usize) -> Result<Done, Error> {
        let bytes = Vec::<u8>::from_redis_value(answer).map_err(|_| unexpected())?;
        match bytes.len() {
            0 => Ok(Done::Got(None)),
            length if length > room => Ok(Done::TooLarge { room }),
            _ => Ok(Done::Got(Some(self.decode(key, bytes)?))),
        }
    }
}

/// The results of one script call.
fn puts_done(count: usize, answer: Result<Value, Error>) -> Vec<Result<Done, Error>> {
    match answer {
        Ok(Value::Array(answers)) if answers.len() == count => answers.iter().map(put_done).collect(),
        Ok(_) => vec![Err(unexpected()); count],
        Err(error) => vec![Err(error); count],
    }
}

fn delete_done(answer: Value) -> Result<Done, Error> {
    Ok(Done::Deleted(matches!(deleted(answer)?, Outcome::Done(()))))
}

fn put_done(answer: &Value) -> Result<Done, Error> {
    match written(answer)? {
        Outcome::Done(written) => Ok(Done::Put(written)),
        Outcome::Refused { .. } => Err(Error::Refused("a write without a condition".into())),
    }
}

fn unexpected() -> Error {
    Error::Refused("an answer of an unexpected type".into())
}
