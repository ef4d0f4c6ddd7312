//! What a process may want to count of replication.

use std::{fmt, sync::Arc};

/// Something that happened where there are several Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// A replica has answered a read.
    ReplicaRead,
    /// A read that a replica might have answered was answered by the primary.
    ReplicaFallback,
    /// As many members have a write as the durability asks for.
    WriteConfirmed,
    /// The primary has a write, and not enough others have confirmed it in time.
    WriteUnconfirmed,
}

/// Who is told of it; nobody at first.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(Replication) + Send + Sync>>);

impl Observer {
    pub fn new(told: impl Fn(Replication) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(crate) fn tell(&self, what: Replication) {
        if let Some(told) = &self.0 {
            told(what);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Observer")
    }
}
