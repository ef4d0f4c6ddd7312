//! The one Redis that there is: nobody waits for it longer than one attempt takes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redis::{Cmd, Pipeline, PushInfo, Value, aio::MultiplexedConnection};

use crate::{
    caches::Caches,
    error::{Effect, Error, Failed},
    group::Answers,
    lines::{Line, Lines, config},
    options::ConnectOptions,
};

pub(super) struct Single {
    pub(super) address: Arc<str>,
    lines: Lines,
    caches: Arc<Caches>,
    /// Since the last look whether it is idle.
    is_used: AtomicBool,
}

impl Single {
    pub(super) fn new(address: &str, options: &ConnectOptions, caches: &Arc<Caches>) -> Result<Self, Error> {
        let told = caches.clone();
        let on_push = Arc::new(move |push: &PushInfo| told.on_push(push));
        let config = config(options, options.response_timeout);
        let lines = Lines::new(options.client_of(address)?, config, on_push, options.lanes);
        Ok(Self { address: address.into(), lines, caches: caches.clone(), is_used: AtomicBool::new(false) })
    }

    pub(super) async fn one(&self, command: &Cmd, effect: Effect) -> Result<Value, Failed> {
        match self.line().await?.one(command).await {
            Err(failed) if is_worth_another(&failed, effect) => self.line().await?.one(command).await,
            answer => answer,
        }
    }

    /// The answers to all but the first `loads` commands, which make scripts known.
    pub(super) async fn many(
        &self,
        commands: &Pipeline,
        loads: usize,
        effect: Effect,
    ) -> Result<Answers, Failed> {
        let answers = match self.line().await?.all(commands).await {
            Err(failed) if is_worth_another(&failed, effect) => self.line().await?.all(commands).await,
            answers => answers,
        };
        let mut answers = answers?.into_iter().map(|answer| answer.extract_error().map_err(Failed::Redis));
        for _ in 0..loads {
            answers.next().transpose()?;
        }
        Ok(answers.collect())
    }

    async fn line(&self) -> Result<Arc<Line>, Failed> {
        // Before a connection is taken: see `close_idle`.
        if !self.is_used.load(Ordering::SeqCst) {
            self.is_used.store(true, Ordering::SeqCst);
        }
        self.lines.line().await
    }

    /// The connections on which Redis tells of changes, by lane.
    pub(super) fn made(&self) -> Vec<Option<MultiplexedConnection>> {
        self.lines.made()
    }

    /// Closes all connections where none was asked for since the last call; whether there was one.
    pub(super) fn close_idle(&self) -> bool {
        if self.is_used.swap(false, Ordering::SeqCst) {
            return false;
        }
        let was_open = self.lines.close();
        // After that: who has reserved a place before may read over what is closed, and must not fill it.
        self.caches.clear();
        was_open
    }
}

/// A read whose connection broke: a Redis that was only restarted answers it over the next one.
fn is_worth_another(failed: &Failed, effect: Effect) -> bool {
    !failed.is_timeout() && !failed.is_harmless() && failed.may_repeat(effect)
}
