//! The multiplexed connection to a tenant's Redis, one for each thread that serves: opened at first use, mended by itself,
//! failing at once. Where there are several Redis, `group` has the connections and holds what another primary may still do;
//! `cluster` has such a group for each shard.

mod near;
mod pipeline;
mod single;

use std::sync::Arc;

use keystead_route::{Durability, Endpoint};
use redis::{Cmd, FromRedisValue, Value};
use tracing::field::Empty;

use crate::{
    breaker::Breaker,
    caches::Caches,
    cluster::Cluster,
    error::{Effect, Error, Failed},
    group::{Group, Roster, Source},
    options::ConnectOptions,
    script::{Call, LOADS, Script},
};
use single::Single;

/// Target of the spans of what is asked of Redis.
const TRACE_TARGET: &str = "keystead::trace";

/// A connection that many tasks share; cloning is cheap.
///
/// It is opened by the first command. While Redis is away a command fails at once, and the first command after its
/// return works: nothing is retried in the background, and nobody waits behind a back-off.
#[derive(Clone)]
pub struct Connection {
    place: Place,
    options: Arc<ConnectOptions>,
    caches: Arc<Caches>,
    breaker: Arc<Breaker>,
}

/// What a Redis tells of itself.
#[derive(Debug)]
pub struct Info {
    /// `host:port`, where it is known.
    pub primary: Option<Arc<str>>,
    /// As `INFO` gives it.
    pub text: Result<String, Error>,
}

/// Where the commands go.
#[derive(Clone)]
enum Place {
    /// To the one Redis that there is.
    Single(Arc<Single>),
    /// To the primary of several; or to one that takes its time until a write lasts, or is waited for when it is away.
    Group(Arc<Group>),
    /// To the primaries of a cluster's shards.
    Sharded(Arc<Cluster>),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connection").field("endpoint", &self.options.endpoint).finish_non_exhaustive()
    }
}

impl Connection {
    /// Prepares a connection; connects nowhere yet.
    pub fn open(options: ConnectOptions) -> Result<Self, Error> {
        let options = Arc::new(options);
        let caches = Arc::new(Caches::new(options.cache_bytes));
        let breaker = Arc::new(Breaker::new());
        let place = match &options.endpoint {
            Endpoint::Standalone { address }
                if options.durability != Durability::Fsync && options.hold.is_zero() =>
            {
                Place::Single(Arc::new(Single::new(address, &options, &caches)?))
            }
            Endpoint::Standalone { address } => {
                options.client_of(address)?;
                let roster = Roster { members: vec![address.clone()], readers: None, source: Source::Alone };
                Place::Group(Group::new(roster, options.clone(), caches.clone(), breaker.clone()))
            }
            Endpoint::Replicated { primary_name, sentinels, members, readers } => {
                for address in sentinels.iter().chain(members).chain(readers) {
                    options.client_of(address)?;
                }
                let source = Source::Sentinels { name: primary_name.clone(), addresses: sentinels.clone() };
                let roster = Roster { members: members.clone(), readers: readers.clone(), source };
                Place::Group(Group::new(roster, options.clone(), caches.clone(), breaker.clone()))
            }
            Endpoint::Cluster { shards } => {
                Place::Sharded(Arc::new(Cluster::new(shards, &options, &caches)?))
            }
        };
        Ok(Self { place, options, caches, breaker })
    }

    /// What is kept of this Redis.
    pub(crate) fn caches(&self) -> &Caches {
        &self.caches
    }

    /// Sees to it that what is kept goes when Redis cannot tell of changes any more.
    pub(crate) fn watch_caches(&self) {
        match &self.place {
            Place::Single(single) => {
                let single = Arc::downgrade(single);
                Caches::watch(&self.caches, move || single.upgrade().map(|single| single.made()));
            }
            Place::Group(group) => {
                let group = Arc::downgrade(group);
                Caches::watch(&self.caches, move || group.upgrade().map(|group| group.made()));
            }
            Place::Sharded(cluster) => {
                let cluster = Arc::downgrade(cluster);
                Caches::watch(&self.caches, move || cluster.upgrade().map(|cluster| cluster.made()));
            }
        }
    }

    /// Closes what no command was sent over since the last call, unless something is kept of it in this process; says whether
    /// anything was open. The next command opens it again.
    pub fn close_idle(&self) -> bool {
        self.caches.is_empty()
            && match &self.place {
                Place::Single(single) => single.close_idle(),
                Place::Group(group) => group.close_idle(),
                Place::Sharded(cluster) => cluster.close_idle(),
            }
    }

    /// `host:port` of the Redis that takes the writes of this key, once it is known.
    pub(crate) async fn find_primary(&self, key: &[u8]) -> Result<Arc<str>, Error> {
        let found = match &self.place {
            Place::Single(single) => Ok(single.address.clone()),
            Place::Group(group) => group.find_primary().await,
            Place::Sharded(cluster) => cluster.find_primary(key).await,
        };
        found.map_err(|failed| Error::from_failed(&failed, Effect::Read))
    }

    /// Ends when another Redis than this one takes the writes of this key.
    pub(crate) async fn is_other_primary(&self, key: &[u8], address: &str) {
        match &self.place {
            Place::Single(_) => std::future::pending().await,
            Place::Group(group) => group.is_other_primary(address).await,
            Place::Sharded(cluster) => cluster.is_other_primary(key, address).await,
        }
    }

    /// What it was opened with.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Where the tenant's Redis is a cluster.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        match &self.place {
            Place::Single(_) | Place::Group(_) => None,
            Place::Sharded(cluster) => Some(cluster),
        }
    }

    /// Whether the tenant's Redis is a cluster.
    pub fn has_shards(&self) -> bool {
        self.cluster().is_some()
    }

    /// Whether Redis is taken for dead, and asked now and then only; of a cluster, any of its shards.
    pub fn is_given_up(&self) -> bool {
        self.breaker.is_open() || self.cluster().is_some_and(Cluster::is_given_up)
    }

    /// What each Redis that takes writes tells of itself, in a section of `INFO`: one, or that of each shard.
    pub async fn info(&self, section: &str) -> Vec<Info> {
        if let Some(cluster) = self.cluster() {
            let of_failed = |failed: Failed| Error::from_failed(&failed, Effect::Read);
            let info = |(primary, answer): (_, Result<Value, Failed>)| Info {
                primary,
                text: answer.map_err(of_failed).and_then(from_value),
            };
            return cluster.info(section).await.into_iter().map(info).collect();
        }
        let text = self.read(redis::cmd("INFO").arg(section)).await;
        let primary = match &self.place {
            Place::Single(single) => Some(single.address.clone()),
            Place::Group(group) => group.primary(),
            Place::Sharded(_) => None,
        };
        vec![Info { primary, text }]
    }

    /// Whether Redis answers; of a cluster, every shard.
    pub async fn ping(&self) -> Result<(), Error> {
        match &self.place {
            Place::Sharded(cluster) => {
                cluster.ping().await.map_err(|failed| Error::from_failed(&failed, Effect::Read))
            }
            _ => self.read(&redis::cmd("PING")).await,
        }
    }

    pub(crate) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.run(command, Effect::Read).await
    }

    /// Reads what will not be lost any more, where writes are confirmed by other members.
    pub(crate) async fn read_surely<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.run(command, Effect::SureRead).await
    }

    /// Calls a script.
    pub(crate) async fn eval<T: FromRedisValue>(
        &self,
        script: &'static Script,
        effect: Effect,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<T, Error> {
        let mut call = Call::new(script, keys);
        call.arg(arguments);
        self.call_as(&call, effect).await
    }

    pub(crate) async fn call_as<T: FromRedisValue>(&self, call: &Call, effect: Effect) -> Result<T, Error> {
        from_value(self.call(call, effect).await?)
    }

    /// Calls a script by its hash, and loads it first where Redis does not know it (then nothing was executed).
    pub(crate) async fn call(&self, call: &Call, effect: Effect) -> Result<Value, Error> {
        self.may_ask()?;
        let mut answer = self.send(&call.command, Some(call.script), effect).await;
        for _ in 0..LOADS {
            if !answer.as_ref().is_err_and(Failed::is_unknown_script) {
                break;
            }
            let _hash: String = self.run(&call.script.load(), Effect::Read).await?;
            answer = self.send(&call.command, Some(call.script), effect).await;
        }
        answer.map_err(|failed| Error::from_failed(&failed, effect))
    }

    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd, effect: Effect) -> Result<T, Error> {
        self.may_ask()?;
        let answer = self.send(command, None, effect).await;
        from_value(answer.map_err(|failed| Error::from_failed(&failed, effect))?)
    }

    async fn send(
        &self,
        command: &Cmd,
        script: Option<&'static Script>,
        effect: Effect,
    ) -> Result<Value, Failed> {
        let span = tracing::info_span!(
            target: TRACE_TARGET,
            "redis",
            otel.name = %Named(command, script),
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = "redis",
            db.operation.name = %Named(command, None),
            db.stored_procedure.name = script.map(|script| script.name),
            server.address = self.address(),
        );
        let answer = match &self.place {
            Place::Group(group) => group.one(command, effect).await,
            Place::Sharded(cluster) => cluster.one(command, script, effect).await,
            Place::Single(single) => single.one(command, effect).await,
        };
        self.note(&answer);
        // A script that Redis does not know is loaded, and called again.
        if answer.as_ref().is_err_and(|failed| !failed.is_unknown_script()) {
            span.record("otel.status_code", "ERROR");
        }
        answer
    }

    fn address(&self) -> &str {
        match &self.options.endpoint {
            Endpoint::Standalone { address } => address,
            Endpoint::Replicated { primary_name, .. } => primary_name,
            Endpoint::Cluster { .. } => "cluster",
        }
    }

    fn may_ask(&self) -> Result<(), Error> {
        if self.breaker.lets_through() {
            Ok(())
        } else {
            Err(Error::Unavailable("it has not answered for a while".into()))
        }
    }

    fn note<T>(&self, answer: &Result<T, Failed>) {
        match (&self.place, answer) {
            // There is nobody else to wait for.
            (Place::Single(_), Err(Failed::NotReached)) => self.breaker.missed(),
            (Place::Single(_) | Place::Group(_), _) => self.breaker.note(answer),
            // It counts for each shard by itself.
            (Place::Sharded(_), _) => {}
        }
    }
}

/// What a span says of a command: never a key or a value.
struct Named<'a>(&'a Cmd, Option<&'static Script>);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(redis::Arg::Simple(name)) = self.0.args_iter().next() {
            out.write_str(&String::from_utf8_lossy(name))?;
        }
        self.1.map_or(Ok(()), |script| write!(out, " {}", script.name))
    }
}

pub(crate) fn from_value<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    T::from_redis_value(value).map_err(|_| Error::Refused("an answer of an unexpected type".into()))
}
