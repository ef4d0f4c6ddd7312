//! The attempts at one request: what cannot have been executed is tried again while another primary may still come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Group, generation::Generation};
use crate::{
    error::{Effect, Failed},
    lines::Line,
};

/// How long nothing is sent after a failure, unless another primary is there before.
const PAUSE: Duration = Duration::from_millis(25);

pub(super) struct Attempts<'a> {
    group: &'a Group,
    effect: Effect,
    begun: Instant,
    /// The generation that was asked last.
    number: u64,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(group: &'a Group, effect: Effect) -> Self {
        group.is_in_use();
        Self { group, effect, begun: Instant::now(), number: 0 }
    }

    /// A connection to the primary.
    pub(super) async fn line(&mut self) -> Result<Arc<Line>, Failed> {
        if let Some((line, number)) = self.group.open(self.effect) {
            self.number = number;
            return Ok(line);
        }
        let generation = self.generation().await?;
        let lines = match self.effect {
            Effect::Read | Effect::SureRead => &generation.reads,
            Effect::Write => &generation.writes,
        };
        tokio::select! {
            line = lines.line() => line,
            // A member that is gone may take long to refuse.
            () = generation.is_over() => Err(Failed::NotSent("another member has become the primary".into())),
        }
    }

    /// The primary, which is looked for where it is not known.
    pub(super) async fn generation(&mut self) -> Result<Arc<Generation>, Failed> {
        let group = self.group;
        let mut known = group.current.load_full();
        if known.is_none() {
            group.begin();
            let mut changes = group.changes.subscribe();
            let bound =
                group.options.hold.max(group.options.connect_timeout).saturating_sub(self.begun.elapsed());
            // Who has waited long before is not to be waited for again by everybody.
            let bound = if self.is_hopeless() { PAUSE } else { bound };
            let _ = tokio::time::timeout(bound, changes.wait_for(|number| *number != 0)).await;
            known = group.current.load_full();
        }
        let generation = known.ok_or_else(|| Failed::NotSent(group.roster.source.no_primary().into()))?;
        self.number = generation.number;
        Ok(generation)
    }

    /// Whether to try again: if so, waits until that may help.
    pub(super) async fn go_on(&mut self, failed: &Failed) -> bool {
        if !failed.may_repeat(self.effect) {
            if failed.is_timeout() {
                self.group.doubt();
            }
            return false;
        }
        self.group.doubt();
        let left = self.group.options.hold.saturating_sub(self.begun.elapsed());
        let mut changes = self.group.changes.subscribe();
        // Who has waited for another primary, and has it now, is not turned away.
        let is_other = !matches!(*changes.borrow(), 0) && *changes.borrow() != self.number;
        if !is_other && (left.is_zero() || self.is_hopeless()) {
            return false;
        }
        let other = changes.wait_for(|number| *number != self.number && *number != 0);
        let _ = tokio::time::timeout(PAUSE.min(left), other).await;
        true
    }

    /// Whether it has not worked for so long that nobody is to wait any more.
    fn is_hopeless(&self) -> bool {
        let hold = self.group.options.hold;
        self.group.failing[usize::from(self.effect == Effect::Write)].go_on(self.group.begun.elapsed(), hold)
            > 2 * hold
    }
}

/// Failures without a success between them, in milliseconds of the group's own time.
#[derive(Default)]
pub(super) struct Failing {
    /// The first; 0: there was none.
    since: AtomicU64,
    last: AtomicU64,
}

impl Failing {
    /// It has failed; gives for how long it does. After a pause without a request it begins anew.
    fn go_on(&self, now: Duration, pause: Duration) -> Duration {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = milliseconds(now).max(1);
        let before = self.last.swap(now, Ordering::Relaxed);
        if self.since.load(Ordering::Relaxed) == 0 || now.saturating_sub(before) > milliseconds(pause) {
            self.since.store(now, Ordering::Relaxed);
        }
        Duration::from_millis(now.saturating_sub(self.since.load(Ordering::Relaxed)))
    }

    /// It works.
    pub(super) fn end(&self) {
        // A write for each would be shared by all threads.
        if self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_long_is_told_from_what_fails_again() {
        let (failing, pause) = (Failing::default(), Duration::from_secs(3));
        let at = |milliseconds| failing.go_on(Duration::from_millis(milliseconds), pause).as_millis();
        assert_eq!([at(1000), at(3000), at(5500)], [0, 2000, 4500]);
        assert_eq!(at(9000), 0, "nobody has asked for a while");
        assert_eq!(at(9500), 500);
        failing.end();
        let at = |milliseconds| failing.go_on(Duration::from_millis(milliseconds), pause).as_millis();
        assert_eq!(at(9600), 0);
    }
}
