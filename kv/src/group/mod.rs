//! Several Redis with the same data, of which Sentinels, or in a cluster they themselves, name the one that takes the writes.
//!
//! While nothing happens a request takes the primary's connection and asks nobody who that is. What is known not to have been
//! executed is held and tried again until another primary is there, for as long as `ConnectOptions::hold`.

mod attempts;
mod commit;
mod generation;
mod inherit;
mod primary;
mod redirect;
mod replicas;
mod roster;
mod source;
mod tracker;
mod witnesses;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;
use redis::{Cmd, Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection, cmd};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use self::{
    attempts::{Attempts, Failing},
    commit::{Commit, Confirm},
    generation::Generation,
    replicas::Replicas,
};
pub(crate) use self::{
    commit::Answers,
    primary::{Named, address},
    redirect::{Redirect, calls_script, redirect},
    roster::{OnView, Roster, Source},
};
use crate::{
    breaker::Breaker,
    caches::Caches,
    error::{Effect, Failed},
    lanes::lane,
    lines::{Line, OnPush},
    options::ConnectOptions,
};

pub(crate) struct Group {
    roster: Arc<Roster>,
    options: Arc<ConnectOptions>,
    caches: Arc<Caches>,
    breaker: Arc<Breaker>,
    confirm: Option<Confirm>,
    /// None: nobody has asked yet, or not for a while, or nobody is known.
    current: ArcSwapOption<Generation>,
    /// The number of `current`; 0: none.
    changes: watch::Sender<u64>,
    /// How often somebody has met what a primary does not do.
    doubts: AtomicU64,
    doubted: Arc<Notify>,
    tracking: Mutex<Tracking>,
    replicas: Replicas,
    /// Since when reads do not work, and writes.
    failing: [Failing; 2],
    begun: Instant,
    /// Since the last look whether it is idle.
    is_used: AtomicBool,
    me: Weak<Self>,
}

/// Who follows the primary, and what outlives that.
#[derive(Default)]
struct Tracking {
    task: Option<JoinHandle<()>>,
    last: Option<Named>,
    generations: u64,
}

impl Group {
    pub(crate) fn new(
        roster: Roster,
        options: Arc<ConnectOptions>,
        caches: Arc<Caches>,
        breaker: Arc<Breaker>,
    ) -> Arc<Self> {
        let roster = Arc::new(roster);
        Arc::new_cyclic(|me| Self {
            confirm: Confirm::of(options.durability, roster.members.len()),
            replicas: Replicas::new(&roster, &options),
            roster,
            options,
            caches,
            breaker,
            current: ArcSwapOption::empty(),
            changes: watch::Sender::new(0),
            doubts: AtomicU64::new(0),
            doubted: Arc::default(),
            tracking: Mutex::default(),
            failing: Default::default(),
            begun: Instant::now(),
            is_used: AtomicBool::new(false),
            me: me.clone(),
        })
    }

    /// Gives the answer of the primary, or what it says against it.
    pub(crate) async fn one(&self, command: &Cmd, effect: Effect) -> Result<Value, Failed> {
        let mut attempts = Attempts::new(self, effect);
        loop {
            let failed = match self.one_now(command, effect, &mut attempts).await {
                Ok(answer) => {
                    self.failing[usize::from(effect == Effect::Write)].end();
                    return Ok(answer);
                }
                Err(failed) => self.settled(failed, command),
            };
            if !attempts.go_on(&failed).await {
                return Err(failed);
            }
        }
    }

    async fn one_now(
        &self,
        command: &Cmd,
        effect: Effect,
        attempts: &mut Attempts<'_>,
    ) -> Result<Value, Failed> {
        if effect != Effect::Read && self.confirm.is_some() {
            let generation = attempts.generation().await?;
            let answers = Commit::write(&generation, lane(), vec![command.clone()]).await?;
            return answers.into_iter().next().unwrap_or(Err(Failed::Unconfirmed));
        }
        attempts.line().await?.one(command).await
    }

    /// Asks for a key that is being moved to this primary: it tells only who says that he was sent here for it.
    pub(crate) async fn asking(&self, command: &Cmd, effect: Effect) -> Result<Value, Failed> {
        let mut attempts = Attempts::new(self, effect);
        let both = [&cmd("ASKING"), command];
        loop {
            let failed = match self.many_now(&both, effect, &mut attempts).await {
                Ok(mut answers) => match answers.pop().unwrap_or(Err(Failed::Unconfirmed)) {
                    Ok(answer) => return Ok(answer),
                    Err(failed) => self.settled(failed, command),
                },
                Err(failed) => failed,
            };
            if !attempts.go_on(&failed).await {
                return Err(failed);
            }
        }
    }

    /// Gives an answer for each command. The first `loads` of them make scripts known, and are sent with every attempt.
    ///
    /// Where the primary refuses from one command on because it is none any more, those are sent to the next one: what was
    /// carried out before is not.
    pub(crate) async fn many(
        &self,
        commands: &Pipeline,
        loads: usize,
        effect: Effect,
    ) -> Result<Answers, Failed> {
        let mut attempts = Attempts::new(self, effect);
        let mut done: Answers = Vec::new();
        loop {
            let from = loads + done.len();
            let rest: Vec<&Cmd> =
                commands.cmd_iter().take(loads).chain(commands.cmd_iter().skip(from)).collect();
            let mut answers = match self.many_now(&rest, effect, &mut attempts).await {
                Ok(answers) => self.all_settled(answers, &rest),
                Err(failed) if attempts.go_on(&failed).await => continue,
                Err(failed) if done.is_empty() => return Err(failed),
                Err(failed) => {
                    done.extend(rest.iter().skip(loads).map(|_| Err(failed.clone())));
                    return Ok(done);
                }
            };
            let mut own = answers.split_off(loads.min(answers.len()));
            let refused = |answer: &Result<_, Failed>| answer.as_ref().is_err_and(Failed::is_harmless);
            // A script that is known but not confirmed to be is known.
            let is_missing = |answer: &Result<_, Failed>| !matches!(answer, Ok(_) | Err(Failed::Unconfirmed));
            if let Some(Err(failed)) = answers.into_iter().find(is_missing) {
                if failed.is_harmless() && attempts.go_on(&failed).await {
                    continue;
                }
                return Err(failed);
            }
            let first = own.iter().position(refused).unwrap_or(own.len());
            let refusal = own.get(first).and_then(|answer| answer.as_ref().err()).cloned();
            let was_changed = rest.iter().skip(loads).zip(&own).skip(first).any(|(command, answer)| {
                !refused(answer) && command.args_iter().next() == Some(redis::Arg::Simple(b"EVALSHA"))
            });
            if let Some(failed) = refusal
                && (effect != Effect::Write || !was_changed)
                && attempts.go_on(&failed).await
            {
                own.truncate(if effect == Effect::Write { first } else { 0 });
                done.extend(own);
                continue;
            }
            self.failing[usize::from(effect == Effect::Write)].end();
            done.extend(own);
            return Ok(done);
        }
    }

    async fn many_now(
        &self,
        commands: &[&Cmd],
        effect: Effect,
        attempts: &mut Attempts<'_>,
    ) -> Result<Answers, Failed> {
        if effect != Effect::Read && self.confirm.is_some() {
            let generation = attempts.generation().await?;
            let commands = commands.iter().map(|command| (*command).clone()).collect();
            return Commit::write(&generation, lane(), commands).await;
        }
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command((*command).clone());
        }
        let answers = attempts.line().await?.all(&pipeline).await?;
        Ok(answers.into_iter().map(|answer| answer.extract_error().map_err(Failed::Redis)).collect())
    }

    /// The answer of a replica that follows the primary of now; none where there is none that answers at once.
    pub(crate) async fn near(&self, command: &Cmd, load: Option<&Cmd>) -> Option<Value> {
        let primary = Attempts::new(self, Effect::Read).generation().await.ok()?.address.clone();
        self.replicas.ask(&primary, command, load).await
    }

    /// `host:port` of the primary, where it is known.
    pub(crate) fn primary(&self) -> Option<Arc<str>> {
        self.current.load().as_ref().map(|generation| generation.address.clone())
    }

    /// The same, once it is known.
    pub(crate) async fn find_primary(&self) -> Result<Arc<str>, Failed> {
        Ok(Attempts::new(self, Effect::Read).generation().await?.address.clone())
    }

    /// Ends when another member than this one is the primary.
    pub(crate) async fn is_other_primary(&self, address: &str) {
        let mut changes = self.changes.subscribe();
        // The sender lives as long as this.
        let _ = changes.wait_for(|_| self.primary().as_deref() != Some(address)).await;
    }

    /// The connections on which Redis tells of changes, by lane.
    pub(crate) fn made(&self) -> Vec<Option<MultiplexedConnection>> {
        self.current.load().as_ref().map(|generation| generation.reads.made()).unwrap_or_default()
    }

    /// Ends everything where nothing was asked since the last call; whether there was anything.
    pub(crate) fn close_idle(&self) -> bool {
        let mut tracking = self.tracking();
        if self.is_used.swap(false, Ordering::SeqCst) {
            return false;
        }
        let task = tracking.task.take();
        if let Some(task) = &task {
            task.abort();
        }
        self.replicas.close();
        let was_open = self.current.swap(None).is_some();
        self.changes.send_replace(0);
        self.caches.clear();
        was_open || task.is_some()
    }

    /// Somebody has met what a primary does not do: it is looked for at once.
    fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
        self.doubted.notify_one();
    }

    /// Begins to follow the primary, unless somebody does.
    pub(crate) fn begin(&self) {
        let mut tracking = self.tracking();
        if let (Source::Alone, [address]) = (&self.roster.source, &self.roster.members[..]) {
            if self.current.load().is_none() {
                self.publish(&mut tracking, address);
            }
        } else if tracking.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let setup = tracker::Setup {
                options: self.options.clone(),
                roster: self.roster.clone(),
                last: tracking.last.clone(),
            };
            tracking.task = Some(tokio::spawn(tracker::run(self.me.clone(), setup)));
        }
    }

    /// From now on this one takes the writes.
    fn take(&self, primary: Named) {
        let mut tracking = self.tracking();
        // The one who tells may have been ended meanwhile.
        if tracking.task.is_some() {
            tracing::info!(primary = primary.address, epoch = primary.epoch, "the primary");
            self.publish(&mut tracking, &primary.address);
            tracking.last = Some(primary);
        }
    }

    fn publish(&self, tracking: &mut Tracking, address: &str) {
        tracking.generations += 1;
        let number = tracking.generations;
        let of_reads = self.on_push(Some(self.caches.clone()));
        let on_push = [of_reads, self.on_push(None)];
        let made = Generation::new(
            number,
            address,
            self.me.clone(),
            &self.options,
            &self.roster,
            self.confirm.clone(),
            on_push,
        );
        match made {
            Ok(mut generation) => {
                if let Some(former) = &tracking.last {
                    generation.witnesses.replace(&former.address);
                }
                self.current.store(Some(Arc::new(generation)));
            }
            Err(error) => {
                tracing::error!(%error, "a member's address cannot be used");
                return;
            }
        }
        self.changes.send_replace(number);
        // After the change: who has reserved a place before may have read from the old one, and must not fill it.
        self.caches.clear();
        self.breaker.answered();
        self.failing.iter().for_each(Failing::end);
    }

    fn on_push(&self, caches: Option<Arc<Caches>>) -> OnPush {
        let me = self.me.clone();
        Arc::new(move |push: &PushInfo| {
            if let Some(caches) = &caches {
                caches.on_push(push);
            }
            if push.kind == PushKind::Disconnection
                && let Some(me) = me.upgrade()
            {
                me.doubt();
            }
        })
    }

    /// An open connection, where that needs no waiting.
    fn open(&self, effect: Effect) -> Option<(Arc<Line>, u64)> {
        let current = self.current.load();
        let generation = current.as_ref()?;
        let line = match effect {
            Effect::Read | Effect::SureRead => generation.reads.open()?,
            Effect::Write => generation.writes.open()?,
        };
        Some((line, generation.number))
    }

    fn is_in_use(&self) {
        // A write for each would be shared by all threads.
        if !self.is_used.load(Ordering::SeqCst) {
            self.is_used.store(true, Ordering::SeqCst);
        }
    }

    fn tracking(&self) -> MutexGuard<'_, Tracking> {
        self.tracking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(task) = self.tracking().task.take() {
            task.abort();
        }
    }
}
