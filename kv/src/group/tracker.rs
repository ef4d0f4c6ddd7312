//! Follows the primary: asks all who may name it at once and the members in question, now and then in peace and often in doubt.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, Value, cmd};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    Group,
    primary::{Knowledge, Named, Role, role_of},
    roster::Roster,
    source::{Source, sources},
};
use crate::options::ConnectOptions;

/// How often each Sentinel is asked in peace; it also tells by itself. A member of a cluster does not: who comes to a wrong one
/// is told so.
const PEACE: Duration = Duration::from_secs(2);
/// How often it is asked in doubt, at first.
const DOUBT: Duration = Duration::from_millis(30);
/// The same where the doubt does not end: a fortieth of its age, up to this.
const LONG_DOUBT: Duration = Duration::from_secs(1);
/// How long one step of an exchange may take. Each Sentinel and each member is asked by itself, so that one that hangs
/// holds up nothing.
pub(super) const STEP: Duration = Duration::from_millis(300);

pub(super) struct Setup {
    pub(super) options: Arc<ConnectOptions>,
    pub(super) roster: Arc<Roster>,
    /// The primary of before.
    pub(super) last: Option<Named>,
}

enum Event {
    Heard(Box<Source>, Option<Named>),
    /// What a member says, and how many doubts there were when it was asked.
    Said(String, Option<Role>, u64),
}

/// Ends when nobody uses the group any more.
pub(super) async fn run(group: Weak<Group>, setup: Setup) {
    let Some(doubted) = group.upgrade().map(|group| group.doubted.clone()) else { return };
    // Whoever waits until it is time to ask again.
    let hurry = Arc::new(Notify::new());
    let sources = sources(&setup.options, &setup.roster, &hurry);
    let mut knowledge = Knowledge::new(setup.roster.members.clone(), sources.len(), setup.last);
    let mut events: FuturesUnordered<BoxFuture<'static, Event>> = FuturesUnordered::new();
    for source in sources {
        events.push(Box::pin(heard(Box::new(source), Duration::ZERO)));
    }
    let (mut being_asked, mut asked): (HashSet<String>, HashMap<String, Instant>) = Default::default();
    // Doubts that were answered, and since when there is one that was not.
    let (mut settled, mut since): (u64, Option<Instant>) = (0, None);
    loop {
        let event = tokio::select! {
            Some(event) = events.next() => Some(event),
            () = doubted.notified() => None,
        };
        let Some(group) = group.upgrade() else { return };
        let mut again = None;
        match event {
            Some(Event::Heard(source, named)) => {
                knowledge.heard(source.place, named);
                again = Some(source);
            }
            Some(Event::Said(member, role, doubts)) => {
                being_asked.remove(&member);
                if role == Some(Role::Primary) && knowledge.current() == Some(member.as_str()) {
                    settled = settled.max(doubts);
                }
                if knowledge.said(&member, role).is_some()
                    && let Some(primary) = knowledge.last()
                {
                    settled = group.doubts.load(Ordering::Acquire);
                    group.take(primary.clone());
                }
            }
            None => {
                if since.is_none() {
                    hurry.notify_waiters();
                }
            }
        }
        let doubts = group.doubts.load(Ordering::Acquire);
        let mut candidates = knowledge.candidates();
        let in_doubt = doubts > settled || knowledge.current().is_none() || !candidates.is_empty();
        since = in_doubt.then(|| since.unwrap_or_else(Instant::now));
        let pace = since.map_or(PEACE, |since| (since.elapsed() / 40).clamp(DOUBT, LONG_DOUBT));
        if in_doubt {
            candidates.extend(knowledge.current().map(str::to_owned));
        }
        for member in candidates {
            if let (false, Ok(client)) = (being_asked.contains(&member), setup.options.client_of(&member)) {
                // What was asked just now is not asked again at once.
                let before = asked.get(&member).map_or(pace, Instant::elapsed);
                let wait = pace.saturating_sub(before);
                asked.insert(member.clone(), Instant::now() + wait);
                being_asked.insert(member.clone());
                events.push(Box::pin(async move {
                    sleep(wait).await;
                    let role = timeout(STEP, role(&client)).await.ok().flatten();
                    Event::Said(member, role, doubts)
                }));
            }
        }
        if let Some(source) = again {
            events.push(Box::pin(heard(source, pace)));
        }
    }
}

async fn heard(source: Box<Source>, wait: Duration) -> Event {
    let (source, named) = source.ask(wait).await;
    Event::Heard(source, named)
}

/// What a member says of itself, on a connection of its own: one that is stuck shows nothing.
async fn role(client: &Client) -> Option<Role> {
    let mut connection = client.get_multiplexed_async_connection_with_config(&brief()).await.ok()?;
    let role: Vec<Value> = cmd("ROLE").query_async(&mut connection).await.ok()?;
    role_of(&role)
}

pub(super) fn brief() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(STEP)).set_response_timeout(Some(STEP))
}
