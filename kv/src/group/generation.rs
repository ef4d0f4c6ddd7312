//! One primary as long as it is the primary: its connections, and the writes that wait for it.

use std::sync::{Arc, Weak};

use super::{
    Group,
    commit::{Answers, CONFIRM_WITHIN, Commit, Confirm},
    roster::Roster,
    witnesses::Witnesses,
};
use crate::{
    error::{Error, Failed},
    lanes::MAX_LANES,
    lines::{Lines, OnPush, config},
    observe::Replication,
    options::ConnectOptions,
};

pub(super) struct Generation {
    /// Which one it is, from 1.
    pub(super) number: u64,
    pub(super) address: Arc<str>,
    pub(super) reads: Lines,
    /// Of their own: a primary that is about to hand over holds writes up, and nobody who reads is to wait behind them.
    pub(super) writes: Lines,
    pub(super) confirm: Option<Confirm>,
    commits: Box<[Commit]>,
    pub(super) witnesses: Witnesses,
    pub(super) group: Weak<Group>,
    options: Arc<ConnectOptions>,
}

impl Generation {
    pub(super) fn new(
        number: u64,
        address: &str,
        group: Weak<Group>,
        options: &Arc<ConnectOptions>,
        roster: &Roster,
        confirm: Option<Confirm>,
        on_push: [OnPush; 2],
    ) -> Result<Self, Error> {
        let client = options.client_of(address)?;
        let [of_reads, of_writes] = on_push;
        let mut write_within = options.response_timeout.max(options.write_timeout);
        if confirm.is_some() {
            write_within += CONFIRM_WITHIN;
        }
        let lines =
            |within, on_push| Lines::new(client.clone(), config(options, within), on_push, options.lanes);
        Ok(Self {
            number,
            address: address.into(),
            reads: lines(options.response_timeout, of_reads),
            writes: lines(write_within, of_writes),
            confirm,
            commits: (0..options.lanes.clamp(1, MAX_LANES)).map(|_| Commit::default()).collect(),
            witnesses: Witnesses::new(options, &roster.members, address)?,
            group,
            options: options.clone(),
        })
    }

    pub(super) fn commit(&self, lane: usize) -> &Commit {
        &self.commits[lane % self.commits.len()]
    }

    /// Ends when there is another one, or none.
    pub(super) async fn is_over(&self) {
        let Some(mut now) = self.group.upgrade().map(|group| group.changes.subscribe()) else { return };
        // An error: the group is gone.
        let _ = now.wait_for(|now| *now != self.number).await;
    }

    /// Counts what became of a request's writes.
    pub(super) fn count(&self, answers: &Answers) {
        let is_lost = answers.iter().any(|answer| matches!(answer, Err(Failed::Unconfirmed)));
        if is_lost {
            self.options.observer.tell(Replication::WriteUnconfirmed);
        } else if answers.iter().any(Result::is_ok) {
            self.options.observer.tell(Replication::WriteConfirmed);
        }
    }
}
