//! A Redis Cluster of one tenant: a group for each shard, and which of them has which slot.
//!
//! A command goes to the shard of its first key. What is refused because its slot is elsewhere, or on its way there, was not
//! executed: it is sent to where it belongs, or again, for as long as `ConnectOptions::hold`.

mod guard;
mod many;
mod slots;
mod view;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keystead_usage::slot;
use redis::{Cmd, Value, aio::MultiplexedConnection};
use tokio::time::sleep;

pub(crate) use self::view::View;
use self::{
    guard::guarded,
    slots::{MAX_SHARDS, Slots, slot_of},
};
use crate::{
    breaker::Breaker,
    caches::Caches,
    error::{Effect, Error, Failed},
    group::{Group, OnView, Redirect, Roster, Source, redirect},
    lanes::MAX_LANES,
    options::ConnectOptions,
    script::{LOADS, Script},
    store::Counted,
};

/// How long nothing is sent where members send a request on to each other, or to a stranger.
const PAUSE: Duration = Duration::from_millis(25);
/// How often a request is sent on before that.
const HOPS: u32 = 3;

pub(crate) struct Cluster {
    shards: Box<[Shard]>,
    slots: Arc<Slots>,
    options: Arc<ConnectOptions>,
    caches: Arc<Caches>,
    counted: Counted,
}

struct Shard {
    group: Arc<Group>,
    /// Of its own: one that is dead must not close the others.
    breaker: Arc<Breaker>,
}

impl Cluster {
    pub(crate) fn new(
        shards: &[Vec<String>],
        options: &Arc<ConnectOptions>,
        caches: &Arc<Caches>,
    ) -> Result<Self, Error> {
        if shards.is_empty() || shards.len() > MAX_SHARDS || shards.iter().any(Vec::is_empty) {
            return Err(Error::Refused(format!(
                "a cluster has 1 to {MAX_SHARDS} shards, each with a member"
            )));
        }
        for address in shards.iter().flatten() {
            options.client_of(address)?;
        }
        let slots = Arc::new(Slots::new(shards));
        let shard = |members: &Vec<String>| {
            let breaker = Arc::new(Breaker::new());
            let on_view: OnView = Arc::new({
                let (slots, caches) = (slots.clone(), caches.clone());
                move |view: &View| {
                    if slots.see(view) {
                        caches.clear();
                    }
                }
            });
            let roster = Roster { members: members.clone(), readers: None, source: Source::Cluster(on_view) };
            let group = Group::new(roster, options.clone(), caches.clone(), breaker.clone());
            Shard { group, breaker }
        };
        Ok(Self {
            shards: shards.iter().map(shard).collect(),
            slots: slots.clone(),
            options: options.clone(),
            caches: caches.clone(),
            counted: Counted::default(),
        })
    }

    /// Gives the answer of the primary that has the key, or what it says against it. A script that it does not know is loaded
    /// first.
    pub(crate) async fn one(
        &self,
        command: &Cmd,
        script: Option<&'static Script>,
        effect: Effect,
    ) -> Result<Value, Failed> {
        let guarded = guarded(command);
        let command = guarded.as_ref().unwrap_or(command);
        let mut journey = Journey::new(self, slot_of(command));
        let mut loads = 0;
        loop {
            let (shard, is_asking) = journey.shard().await?;
            let answer = self.at(shard, async |group| {
                if is_asking { group.asking(command, effect).await } else { group.one(command, effect).await }
            });
            let failed = match answer.await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if let Some(script) = script.filter(|_| failed.is_unknown_script() && loads < LOADS) {
                loads += 1;
                self.at(shard, async |group| group.one(&script.load(), Effect::Read).await).await?;
            } else if !journey.goes_on(&failed).await {
                return Err(failed);
            }
        }
    }

    /// What a replica answers that follows the primary that has the key. Where it has nothing the primary is asked: the slot may
    /// be on its way, and a replica does not know.
    pub(crate) async fn near(&self, command: &Cmd) -> Option<Value> {
        let shard = Journey::new(self, slot_of(command)).shard().await.ok()?.0;
        let answer = self.shards.get(shard)?.group.near(command, None).await;
        answer.filter(|answer| *answer != Value::Nil)
    }

    /// Asks a shard, unless it is taken for dead.
    async fn at<T>(
        &self,
        shard: usize,
        ask: impl AsyncFnOnce(&Group) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let Some(Shard { group, breaker }) = self.shards.get(shard) else {
            return Err(Failed::NotSent("there is no such shard".into()));
        };
        if !breaker.lets_through() {
            return Err(Failed::NotSent("it has not answered for a while".into()));
        }
        let answer = ask(group).await;
        breaker.note(&answer);
        answer
    }

    /// A member has said that a slot is at this address; false where that is a stranger.
    fn mend(&self, slot: u16, address: &str) -> bool {
        let Some(shard) = self.slots.of(address) else { return false };
        if self.slots.mend(slot, shard) {
            self.caches.clear();
        }
        true
    }

    /// `host:port` of the Redis that takes the writes of this key, once it is known.
    pub(crate) async fn find_primary(&self, key: &[u8]) -> Result<Arc<str>, Failed> {
        let (shard, _) = Journey::new(self, Some(slot(key))).shard().await?;
        self.at(shard, async |group| group.find_primary().await).await
    }

    /// Ends when another one takes the writes of this key.
    pub(crate) async fn is_other_primary(&self, key: &[u8], address: &str) {
        let mut changes = self.slots.changes();
        let has_moved = |shard: usize| self.slots.shard(slot(key)).is_some_and(|now| now != shard);
        let Some(shard) = self.slots.of(address) else { return };
        let Some(Shard { group, .. }) = self.shards.get(shard) else { return };
        tokio::select! {
            // The sender lives as long as this.
            _ = changes.wait_for(|_| has_moved(shard)) => {}
            () = group.is_other_primary(address) => {}
        }
    }

    /// By shard the primary, where it is known, and what it tells of itself in a section of `INFO`, or why not.
    pub(crate) async fn info(&self, section: &str) -> Vec<(Option<Arc<str>>, Result<Value, Failed>)> {
        self.each(|| {
            let mut info = redis::cmd("INFO");
            info.arg(section);
            info
        })
        .await
    }

    /// Whether every shard answers.
    pub(crate) async fn ping(&self) -> Result<(), Failed> {
        self.each(|| redis::cmd("PING")).await.into_iter().try_for_each(|(_, answer)| answer.map(drop))
    }

    async fn each(&self, command: impl Fn() -> Cmd) -> Vec<(Option<Arc<str>>, Result<Value, Failed>)> {
        let shards = self.shards.iter().enumerate().map(async |(shard, it)| {
            let command = command();
            let answer = self.at(shard, async |group| group.one(&command, Effect::Read).await).await;
            (it.group.primary(), answer)
        });
        futures::future::join_all(shards).await
    }

    /// Whether a shard is taken for dead.
    pub(crate) fn is_given_up(&self) -> bool {
        self.shards.iter().any(|shard| shard.breaker.is_open())
    }

    /// The connections on which Redis tells of changes: of each shard as many places as there are lanes.
    pub(crate) fn made(&self) -> Vec<Option<MultiplexedConnection>> {
        let lanes = self.options.lanes.clamp(1, MAX_LANES);
        let of_shard = |shard: &Shard| {
            let mut made = shard.group.made();
            made.resize(lanes, None);
            made
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// How many keys there are, as the store has found.
    pub(crate) fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Ends everything at shards of which nothing was asked since the last call; whether there was anything.
    pub(crate) fn close_idle(&self) -> bool {
        let closed = self.shards.iter().map(|shard| shard.group.close_idle());
        let was_open = closed.fold(false, |before, closed| before | closed);
        if self.shards.iter().all(|shard| shard.group.primary().is_none()) {
            self.slots.forget();
        }
        was_open
    }
}

/// The way of one request to where its key is.
struct Journey<'a> {
    cluster: &'a Cluster,
    /// None: it has no key, and any shard will do.
    slot: Option<u16>,
    begun: Instant,
    hops: u32,
    /// Where to ask for a key that is being moved.
    asking: Option<usize>,
}

impl<'a> Journey<'a> {
    fn new(cluster: &'a Cluster, slot: Option<u16>) -> Self {
        Self { cluster, slot, begun: Instant::now(), hops: 0, asking: None }
    }

    /// The next shard to ask, and whether as one who was sent there for a key that is being moved.
    async fn shard(&mut self) -> Result<(usize, bool), Failed> {
        if let Some(shard) = self.asking.take() {
            return Ok((shard, true));
        }
        let Some(slot) = self.slot else { return Ok((0, false)) };
        let slots = &self.cluster.slots;
        if let Some(shard) = slots.shard(slot) {
            return Ok((shard, false));
        }
        // Whoever answers says who has it.
        self.cluster.shards.iter().for_each(|shard| shard.group.begin());
        let bound = self.cluster.options.hold.max(self.cluster.options.connect_timeout);
        let mut changes = slots.changes();
        let known = changes.wait_for(|_| slots.shard(slot).is_some());
        let _ = tokio::time::timeout(bound.saturating_sub(self.begun.elapsed()), known).await;
        let shard = slots.shard(slot);
        shard
            .map(|shard| (shard, false))
            .ok_or_else(|| Failed::NotSent("no member says who has the key's slot".into()))
    }

    /// Whether to try again, elsewhere or there; waits where that may help.
    async fn goes_on(&mut self, failed: &Failed) -> bool {
        let Some(to) = redirect(failed) else {
            if matches!(failed, Failed::NotSent(_)) {
                // The whole shard may be gone, and its slots elsewhere: the others say so.
                self.cluster.shards.iter().for_each(|shard| shard.group.begin());
            }
            return false;
        };
        self.hops += 1;
        let is_known = match (to, self.slot) {
            (Redirect::Moved(address), Some(slot)) => self.cluster.mend(slot, &address),
            (Redirect::Ask(address), _) => {
                self.asking = self.cluster.slots.of(&address);
                self.asking.is_some()
            }
            (Redirect::Moved(_), None) => false,
        };
        if self.begun.elapsed() >= self.cluster.options.hold.max(PAUSE) {
            return false;
        }
        if !is_known || self.hops > HOPS {
            sleep(PAUSE).await;
        }
        true
    }
}
