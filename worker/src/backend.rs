//! The queue as apalis sees it: a source of claims that the fetching loop hands over.
//!
//! apalis runs them, bounds them and ends them; leases, retries and dead letters are the queue's own, because they must
//! hold across workers and outlive this process.

use std::task::{Context, Poll};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::{Task, task_id::RandomId},
    worker::context::WorkerContext,
};
use tokio::sync::mpsc;
use tower_layer::Identity;

use crate::run::Claimed;

#[derive(Debug)]
pub(crate) struct Source {
    claims: mpsc::Receiver<Claimed>,
}

/// The receiving end is never at fault.
#[derive(Debug, thiserror::Error)]
#[error("the queue's source failed")]
pub(crate) struct Never;

impl Source {
    pub(crate) fn new(claims: mpsc::Receiver<Claimed>) -> Self {
        Self { claims }
    }
}

impl Backend for Source {
    type Task = Task<Claimed>;
    type Error = Never;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Never>>> {
        self.claims.poll_recv(cx).map(|claimed| claimed.map(|claimed| Ok(Task::new(claimed))))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Source {
    type Args = Claimed;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
