//! Connections to one Redis: one for each thread that serves, made by whoever needs it first.
//!
//! They never reconnect by themselves: whether a command was sent is known.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, PushInfo, PushKind, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use tokio::sync::OnceCell;

use crate::{
    error::{Error, Failed},
    lanes::{MAX_LANES, lane},
    options::ConnectOptions,
};

/// So many requests go over one connection, whichever thread they are of: with it a Redis that is seldom asked costs the
/// memory of one connection, not of one for each thread.
const SHARED_USES: u32 = 256;

/// What is done with what a connection tells by itself; its end is told as well.
pub(crate) type OnPush = Arc<dyn Fn(&PushInfo) + Send + Sync>;

/// A connection that many requests share.
pub(crate) struct Line {
    connection: MultiplexedConnection,
    is_closed: Arc<AtomicBool>,
    /// The id of what the primary at its other end writes: it changes only where the process, and so the connection, ends.
    pub(crate) history: OnceCell<String>,
}

impl Line {
    pub(crate) async fn connect(
        client: &Client,
        config: AsyncConnectionConfig,
        on_push: OnPush,
    ) -> Result<Self, redis::RedisError> {
        let is_closed = Arc::new(AtomicBool::new(false));
        let closed = is_closed.clone();
        let config = config.set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                closed.store(true, Ordering::Release);
            }
            on_push(&push);
            Ok::<(), std::convert::Infallible>(())
        });
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, is_closed, history: OnceCell::new() })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    pub(crate) async fn one(&self, command: &Cmd) -> Result<Value, Failed> {
        let answer = self.connection().req_packed_command(command).await;
        Ok(answer.and_then(Value::extract_error)?)
    }

    /// An answer for each; those that say no are among them.
    pub(crate) async fn all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failed> {
        let count = commands.len();
        Ok(self.connection().req_packed_commands(commands, 0, count).await?)
    }
}

/// The connections to one Redis.
pub(crate) struct Lines {
    client: Client,
    config: AsyncConnectionConfig,
    on_push: OnPush,
    places: Box<[Arc<Place>]>,
    /// How often one was asked for, up to `SHARED_USES`.
    uses: AtomicU32,
}

#[derive(Default)]
struct Place {
    line: ArcSwapOption<Line>,
    /// The attempt at a connection that was begun last: one connects, the others wait for it.
    attempt: Mutex<Option<Attempt>>,
}

#[derive(Clone)]
struct Attempt {
    begun: Instant,
    /// Where it succeeds the connection is in its place.
    outcome: Shared<BoxFuture<'static, Result<(), Failed>>>,
}

impl Place {
    fn line(&self) -> Option<Arc<Line>> {
        self.line.load().as_ref().filter(|line| !line.is_closed()).cloned()
    }
}

impl Lines {
    pub(crate) fn new(client: Client, config: AsyncConnectionConfig, on_push: OnPush, lanes: usize) -> Self {
        let places = (0..lanes.clamp(1, MAX_LANES)).map(|_| Arc::default()).collect();
        Self { client, config, on_push, places, uses: AtomicU32::new(0) }
    }

    /// To a member that is only asked: nothing follows from what it tells by itself.
    pub(crate) fn to(options: &ConnectOptions, address: &str, within: Duration) -> Result<Self, Error> {
        let nobody = Arc::new(|_: &PushInfo| {});
        Ok(Self::new(options.client_of(address)?, config(options, within), nobody, options.lanes))
    }

    /// An open connection: that of the current thread, or of another while there is little to do.
    pub(crate) async fn line(&self) -> Result<Arc<Line>, Failed> {
        match self.open() {
            Some(line) => Ok(line),
            None => self.connected().await,
        }
    }

    /// The same, where it needs no waiting.
    pub(crate) fn open(&self) -> Option<Arc<Line>> {
        if self.uses.load(Ordering::Relaxed) < SHARED_USES {
            self.uses.fetch_add(1, Ordering::Relaxed);
            return self.places.iter().find_map(|place| place.line());
        }
        self.own().line()
    }

    /// That of the current thread, connected where it is not open. Nobody is told of an attempt that was begun before he
    /// asked: it may be about a Redis that was not there yet.
    async fn connected(&self) -> Result<Arc<Line>, Failed> {
        let (own, asked) = (self.own(), Instant::now());
        loop {
            if let Some(line) = own.line() {
                return Ok(line);
            }
            let attempt = self.attempt(asked);
            let outcome = attempt.outcome.await;
            if attempt.begun >= asked {
                outcome?;
                return own.line().ok_or_else(|| Failed::NotSent("the connection broke at once".into()));
            }
        }
    }

    /// The attempt that is under way, or was begun since; else a new one.
    fn attempt(&self, asked: Instant) -> Attempt {
        let own = self.own();
        let mut last = own.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of_use = |attempt: &&Attempt| attempt.begun >= asked || attempt.outcome.peek().is_none();
        if let Some(attempt) = last.as_ref().filter(is_of_use) {
            return attempt.clone();
        }
        let place = own.clone();
        let (client, config, on_push) = (self.client.clone(), self.config.clone(), self.on_push.clone());
        let outcome = async move {
            let made = Line::connect(&client, config, on_push).await;
            // Whatever it was: no command was sent.
            place.line.store(Some(Arc::new(made.map_err(|error| Failed::not_sent(&error))?)));
            Ok(())
        };
        let attempt = Attempt { begun: Instant::now(), outcome: outcome.boxed().shared() };
        // It goes on where all who wait for it give up.
        tokio::spawn(attempt.outcome.clone());
        last.insert(attempt).clone()
    }

    /// All of them by lane; none where a lane has none.
    pub(crate) fn made(&self) -> Vec<Option<MultiplexedConnection>> {
        let connection = |place: &Arc<Place>| place.line.load().as_ref().map(|line| line.connection());
        self.places.iter().map(connection).collect()
    }

    /// Lets go of all of them: each is closed when those who use it have their answers. Whether there was any.
    pub(crate) fn close(&self) -> bool {
        self.uses.store(0, Ordering::Relaxed);
        self.places.iter().filter_map(|place| place.line.swap(None)).count() > 0
    }

    fn own(&self) -> &Arc<Place> {
        &self.places[lane() % self.places.len()]
    }
}

/// How the connections of these options are made.
pub(crate) fn config(options: &ConnectOptions, answer_within: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(answer_within))
        // Many requests wait on the same connection: its queue must not be what they wait for.
        .set_pipeline_buffer_size(1024)
}
