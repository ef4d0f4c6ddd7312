//! What a tenant uses, as its worker has seen it last: a document in the tenant's Redis, beside the queue.

use keystead_usage::{Jobs, SECTIONS, Totals};
use redis::{Value, cmd};
use serde::{Deserialize, Serialize};

use crate::{
    clock::now_ms,
    connection::Connection,
    entry::Corrupt,
    error::{Effect, Error},
    store::Store,
};

const USAGE: &[u8] = b"jobs:{j}:usage";

/// What a tenant uses; of a cluster, of all its shards together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// When that was, in milliseconds since 1970-01-01T00:00:00Z by the worker's clock.
    pub observed_at: u64,
    /// Without those that have expired.
    pub keys: u64,
    pub memory_bytes: u64,
    /// 0: no bound.
    pub max_memory_bytes: u64,
    /// Share of the look-ups of keys since Redis started that have found one; none: there were none.
    pub hit_rate: Option<f64>,
    pub connections: u64,
    /// How far the replica is behind that is the furthest; none: there is no replica.
    pub replication_lag_bytes: Option<u64>,
    /// Jobs that may begin, and wait; also those whose time has come that no worker has seen yet.
    pub queue_depth: u64,
    /// How long the one has waited that has waited the longest.
    pub queue_age_ms: u64,
}

impl Usage {
    /// Looks at everything; an error where a part does not answer: half of it would mislead.
    pub async fn observe(connection: &Connection, store: &Store) -> Result<Self, Error> {
        let mut sections = String::new();
        for section in SECTIONS {
            for info in connection.info(section).await {
                sections.push_str(&info.text?);
            }
        }
        let totals = Totals::read(&sections);
        let jobs = jobs(connection).await?;
        Ok(Self {
            observed_at: now_ms(),
            keys: store.count().await?,
            memory_bytes: totals.memory_bytes,
            max_memory_bytes: totals.max_memory_bytes,
            hit_rate: totals.hit_rate,
            connections: totals.connections,
            replication_lag_bytes: totals.replication_lag_bytes,
            queue_depth: jobs.waiting,
            queue_age_ms: jobs.oldest.map_or(0, |oldest| now_ms().saturating_sub(oldest)),
        })
    }

    /// Keeps it for who asks.
    pub async fn keep(&self, connection: &Connection) -> Result<(), Error> {
        let document = serde_json::to_vec(self).map_err(|_| Corrupt::Malformed)?;
        connection.run::<()>(cmd("SET").arg(USAGE).arg(document), Effect::Write).await
    }

    /// What was kept last.
    pub async fn last(connection: &Connection) -> Result<Option<Self>, Error> {
        let document: Option<Vec<u8>> = connection.read(cmd("GET").arg(USAGE)).await?;
        let parse = |document: Vec<u8>| serde_json::from_slice(&document).map_err(|_| Corrupt::Malformed);
        Ok(document.map(parse).transpose()?)
    }
}

async fn jobs(connection: &Connection) -> Result<Jobs, Error> {
    let now = now_ms();
    let mut questions = redis::pipe();
    Jobs::ask(&mut questions, now);
    let answers = connection.pipeline(&questions, Vec::new(), Effect::Read).await?;
    let answers: Vec<Value> = answers.into_iter().collect::<Result<_, _>>()?;
    Ok(Jobs::read(&answers, now).map_err(|_| Corrupt::Malformed)?)
}
