//! The connections that are open: those that are of no use any more are closed, and all of them finish when the server stops.
//!
//! One task looks after all of them: a timer and a signal of each connection's own would be polled with every request.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper_util::server::graceful::GracefulConnection;
use tokio::{sync::Notify, time::MissedTickBehavior};

use super::idle::{Activity, Ending};

/// How often a connection is looked at within the time for which it may be idle.
const LOOKS: u32 = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<AllOpen>,
    none_left: Notify,
}

#[derive(Debug, Default)]
struct AllOpen {
    last: u64,
    by_number: HashMap<u64, Seen>,
}

/// What was seen of a connection.
#[derive(Debug)]
struct Seen {
    activity: Arc<Activity>,
    uses: usize,
    /// Looks in a row that have found it idle.
    quiet: u32,
}

/// A connection that is looked after while this lives.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) activity: Arc<Activity>,
    number: u64,
    among: Connections,
}

impl Connections {
    /// One more.
    pub(super) fn open(&self) -> Open {
        let activity = Arc::new(Activity::default());
        let mut open = self.all();
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, Seen { activity: activity.clone(), uses: 0, quiet: 0 });
        Open { activity, number, among: self.clone() }
    }

    /// Closes, as long as it is polled, each that has been of no use for `limit`, at most a quarter later.
    pub(super) async fn close_idle(&self, limit: Duration) -> Infallible {
        let mut looks = tokio::time::interval(limit / LOOKS);
        // Looks that come late must not come together: nobody could have used anything between them.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            for seen in self.all().by_number.values_mut() {
                let (uses, is_used) = seen.activity.used_since(seen.uses);
                seen.uses = uses;
                seen.quiet = if is_used { 0 } else { seen.quiet + 1 };
                // Up to a quarter was over already when it was first found so.
                if seen.quiet > LOOKS {
                    seen.activity.end(Ending::Now);
                }
            }
        }
    }

    /// Lets all finish what is under way, and waits until they are closed.
    pub(super) async fn finish(&self) {
        for seen in self.all().by_number.values() {
            seen.activity.end(Ending::AfterRequest);
        }
        loop {
            let none_left = self.0.none_left.notified();
            if self.all().by_number.is_empty() {
                return;
            }
            none_left.await;
        }
    }

    fn all(&self) -> MutexGuard<'_, AllOpen> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.among.all();
        open.by_number.remove(&self.number);
        if open.by_number.is_empty() {
            self.among.0.none_left.notify_waiters();
        }
    }
}

pin_project_lite::pin_project! {
    /// Serves a connection until it ends or is to. `None`: it was idle.
    pub(super) struct Served<C> {
        #[pin]
        connection: C,
        open: Open,
        is_finishing: bool,
    }
}

impl<C> Served<C> {
    pub(super) fn new(connection: C, open: Open) -> Self {
        Self { connection, open, is_finishing: false }
    }
}

impl<C: GracefulConnection> Future for Served<C> {
    type Output = Option<C::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.open.activity.poll_ending(context) {
            Some(Ending::Now) => return Poll::Ready(None),
            Some(Ending::AfterRequest) if !*this.is_finishing => {
                *this.is_finishing = true;
                this.connection.as_mut().graceful_shutdown();
            }
            Some(Ending::AfterRequest) | None => {}
        }
        Poll::Ready(Some(ready!(this.connection.poll(context))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::FutureExt as _;

    use super::*;

    /// How a connection is to end, once it is.
    async fn told(open: &Open) -> Ending {
        std::future::poll_fn(|context| open.activity.poll_ending(context).map_or(Poll::Pending, Poll::Ready))
            .await
    }

    #[tokio::test]
    async fn a_connection_that_nobody_uses_is_closed_and_one_in_use_is_not() {
        const LIMIT: Duration = Duration::from_millis(400);
        let connections = Connections::default();
        let (idle, often, busy) = (connections.open(), connections.open(), connections.open());
        busy.activity.begin();
        let started = Instant::now();
        let use_often = async {
            loop {
                often.activity.used();
                tokio::time::sleep(LIMIT / 20).await;
            }
        };
        tokio::select! {
            ending = told(&idle) => assert_eq!(ending, Ending::Now),
            never = connections.close_idle(LIMIT) => match never {},
            () = use_often => {}
        }
        assert!(started.elapsed() >= LIMIT, "{:?}", started.elapsed());
        assert_eq!((told(&often).now_or_never(), told(&busy).now_or_never()), (None, None));
    }

    #[tokio::test]
    async fn all_are_told_to_finish_and_the_last_ends_the_wait() {
        let connections = Connections::default();
        connections.finish().await;
        let (one, other) = (connections.open(), connections.open());
        let finished = tokio::spawn({
            let connections = connections.clone();
            async move { connections.finish().await }
        });
        for open in [one, other] {
            assert!(!finished.is_finished());
            assert_eq!(told(&open).await, Ending::AfterRequest);
        }
        finished.await.unwrap();
    }
}
