//! Commands that are sent together.

use redis::{Cmd, FromRedisValue, Pipeline, Value};
use tracing::field::Empty;

use super::{Connection, Place, TRACE_TARGET, from_value};
use crate::{
    error::{Effect, Error, Failed},
    group::Answers,
    script::{Call, Script},
};

impl Connection {
    /// Reads, and has Redis tell once when what was read changes. Where it will not, the answer is no basis for keeping
    /// anything: `false`.
    pub(crate) async fn read_tracked<T: FromRedisValue>(&self, command: &Cmd) -> Result<(T, bool), Error> {
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("CACHING").arg("YES");
        let mut commands = redis::pipe();
        commands.add_command(tracking).add_command(command.clone());
        let mut answers = self.sequence(&commands).await?;
        if answers.first().is_none_or(Result::is_err) {
            // A new connection: nothing is told to it yet.
            let mut begin = redis::pipe();
            begin.cmd("CLIENT").arg("TRACKING").arg("ON").arg("OPTIN");
            for command in commands.cmd_iter() {
                begin.add_command(command.clone());
            }
            answers = self.sequence(&begin).await?;
        }
        let answer = answers.pop().unwrap_or_else(|| Err(Error::Refused("no answer".into())))?;
        let is_tracked = answers.iter().all(Result::is_ok);
        Ok((from_value(answer)?, is_tracked))
    }

    /// Reads over one connection, in order; a cluster decides by the last of them where.
    async fn sequence(&self, commands: &Pipeline) -> Result<Vec<Result<Value, Error>>, Error> {
        let Place::Sharded(cluster) = &self.place else {
            return self.pipeline(commands, Vec::new(), Effect::Read).await;
        };
        let of_failed = |failed: Failed| Error::from_failed(&failed, Effect::Read);
        let answers = cluster.together(commands, Effect::Read).await.map_err(of_failed)?;
        Ok(answers.into_iter().map(|answer| answer.map_err(of_failed)).collect())
    }

    /// Calls scripts whose order does not matter, and gives the answer of each; the first that fails is the error.
    pub(crate) async fn call_all(&self, calls: Vec<Call>, effect: Effect) -> Result<Vec<Value>, Error> {
        let mut commands = redis::pipe();
        let scripts = calls.iter().map(|call| call.script).collect();
        for call in calls {
            commands.add_command(call.command);
        }
        self.pipeline(&commands, scripts, effect).await?.into_iter().collect()
    }

    /// Sends commands together and gives an answer for each. The scripts that they call are loaded first and at once
    /// with them: were one unknown, the commands after it would be carried out before it. In a cluster the order of the
    /// commands is not kept.
    pub(crate) async fn pipeline(
        &self,
        commands: &Pipeline,
        mut scripts: Vec<&'static Script>,
        effect: Effect,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        scripts.sort_by_key(|script| script.hash());
        scripts.dedup_by_key(|script| script.hash());
        let mut all = redis::pipe();
        for command in scripts.iter().map(|script| script.load()).chain(commands.cmd_iter().cloned()) {
            all.add_command(command);
        }
        let count = all.len();
        self.may_ask()?;
        let span = tracing::info_span!(
            target: TRACE_TARGET,
            "redis",
            otel.name = "PIPELINE",
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = "redis",
            db.operation.name = "PIPELINE",
            db.operation.batch.size = count,
            server.address = self.address(),
        );
        let answers = self.exchange(&all, scripts.len(), effect).await;
        self.note(&answers);
        if answers.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        let of_failed = |failed: &Failed| Error::from_failed(failed, effect);
        let answers = answers.map_err(|failed| of_failed(&failed))?;
        Ok(answers.into_iter().map(|answer| answer.map_err(|failed| of_failed(&failed))).collect())
    }

    /// The answers to all but the first `loads` commands, which make scripts known.
    async fn exchange(&self, all: &Pipeline, loads: usize, effect: Effect) -> Result<Answers, Failed> {
        match &self.place {
            Place::Single(single) => single.many(all, loads, effect).await,
            Place::Group(group) => group.many(all, loads, effect).await,
            Place::Sharded(cluster) => cluster.many(all, loads, effect).await,
        }
    }
}
