//! When a tenant was used last: noted in its Redis, beside the queue, for who lets it sleep where nobody uses it. By the clock of
//! Redis, so that it does not matter whose clock goes wrong of the many who note it.

use std::time::Duration;

use crate::{
    connection::Connection,
    error::{Effect, Error},
    script,
};

const USED: &[u8] = b"jobs:{j}:used";

/// How often one process notes it at most. Who reads it waits for so long beyond the time in question.
pub const NOTED_EVERY: Duration = Duration::from_mins(1);

/// The note in one tenant's Redis.
#[derive(Clone, Debug)]
pub struct Activity {
    connection: Connection,
}

impl Activity {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Notes that the tenant was used so long ago, unless a later use is known.
    pub async fn note(&self, ago: Duration) -> Result<(), Error> {
        let ago = ago.as_millis().to_string();
        self.connection.eval(&script::ACTIVITY, Effect::Write, &[USED], &[ago.as_bytes()]).await
    }
}
