//! Reads that a replica may answer.

use keystead_route::Endpoint;
use redis::{Cmd, FromRedisValue, Value};

use super::{Connection, Place, from_value};
use crate::{
    error::{Effect, Error},
    observe::Replication,
    script::{Call, Script},
};

impl Connection {
    /// Whether there is anybody but the primary who could answer.
    pub(crate) fn has_replicas(&self) -> bool {
        matches!(self.options.endpoint, Endpoint::Replicated { .. } | Endpoint::Cluster { .. })
    }

    /// What a replica answers, where one follows the primary and answers at once; else the primary.
    pub(crate) async fn read_near<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        match self.near(command, None).await {
            Some(answer) => from_value(answer),
            None => self.read(command).await,
        }
    }

    /// The same for a script that only reads.
    pub(crate) async fn call_near<T: FromRedisValue>(&self, call: &Call) -> Result<T, Error> {
        match self.near(&call.command, Some(call.script)).await {
            Some(answer) => from_value(answer),
            None => self.call_as(call, Effect::Read).await,
        }
    }

    async fn near(&self, command: &Cmd, script: Option<&'static Script>) -> Option<Value> {
        let answer = match &self.place {
            Place::Single(_) => return None,
            Place::Group(group) => group.near(command, script.map(Script::load).as_ref()).await,
            // A replica does not know that what a script reads is on its way to another shard.
            Place::Sharded(_) if script.is_some() => return None,
            Place::Sharded(cluster) => cluster.near(command).await,
        };
        self.options.observer.tell(match answer {
            Some(_) => Replication::ReplicaRead,
            None => Replication::ReplicaFallback,
        });
        answer
    }
}
