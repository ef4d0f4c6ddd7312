//! The multiplexed connection to a tenant's Redis, one for each thread that serves: opened at first use, mended by itself,
//! failing at once.

use std::{sync::Arc, time::Duration};

use keystead_route::{Endpoint, SecretText};
use redis::{
    Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    ProtocolVersion, RedisConnectionInfo, RedisError, ServerErrorKind, ToRedisArgs, Value,
    aio::{ConnectionLike as _, ConnectionManagerConfig},
};

use tracing::field::Empty;

use crate::{
    breaker::Breaker,
    caches::Caches,
    error::{Effect, Error},
    lanes::Lanes,
    script::Script,
};

/// Target of the spans of what is asked of Redis.
const TRACE_TARGET: &str = "keystead::trace";

/// How to reach a tenant's Redis, and how long to wait.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub endpoint: Endpoint,
    /// ACL user; none for a Redis without users.
    pub username: Option<String>,
    pub password: Option<SecretText>,
    /// How long a new connection may take; 1 s by default.
    pub connect_timeout: Duration,
    /// How long an answer may take; 500 ms by default.
    pub response_timeout: Duration,
    /// Room for entries that are kept in this process, in bytes; 0: none are kept.
    pub cache_bytes: u64,
    /// How many threads have a connection of their own, see [`enter_lane`](crate::enter_lane); 1 by default.
    pub lanes: usize,
}

impl ConnectOptions {
    pub fn new(endpoint: Endpoint, username: Option<String>, password: Option<SecretText>) -> Self {
        Self {
            endpoint,
            username,
            password,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            cache_bytes: 0,
            lanes: 1,
        }
    }

    /// A client library's view of these options.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let Endpoint::Standalone { address } = &self.endpoint;
        let wrong = || Error::Refused(format!("the address {address:?} is not host:port"));
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().map_err(|_| wrong())?;
        // RESP3: only there a lost connection is noticed before the next command.
        let mut settings =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose());
        }
        let info = ConnectionAddr::Tcp(host, port)
            .into_connection_info()
            .map_err(|_| wrong())?
            .set_redis_settings(settings);
        Client::open(info).map_err(|_| wrong())
    }
}

/// A script with its keys and arguments.
#[derive(Debug)]
pub(crate) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    pub(crate) fn new(script: &'static Script, keys: &[&[u8]]) -> Self {
        Self::sized(script, keys, 128)
    }

    /// With room for arguments of so many bytes.
    pub(crate) fn sized(script: &'static Script, keys: &[&[u8]], bytes: usize) -> Self {
        let of_keys: usize = keys.iter().map(|key| key.len()).sum();
        let mut command = Cmd::with_capacity(3 + keys.len() + 12, 64 + of_keys + bytes);
        command.arg("EVALSHA").arg(script.hash()).arg(keys.len()).arg(keys);
        Self { script, command }
    }

    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn script(&self) -> &'static Script {
        self.script
    }

    pub(crate) fn into_command(self) -> Cmd {
        self.command
    }
}

/// A connection that many tasks share; cloning is cheap.
///
/// It is opened by the first command. While Redis is away a command fails at once, and the first command after its
/// return works: nothing is retried in the background, and nobody waits behind a back-off.
#[derive(Clone)]
pub struct Connection {
    lanes: Arc<Lanes>,
    options: Arc<ConnectOptions>,
    caches: Arc<Caches>,
    breaker: Arc<Breaker>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connection").field("endpoint", &self.options.endpoint).finish_non_exhaustive()
    }
}

impl Connection {
    /// Prepares a connection; connects nowhere yet.
    pub fn open(options: ConnectOptions) -> Result<Self, Error> {
        let caches = Arc::new(Caches::new(options.cache_bytes));
        let told = caches.clone();
        let config = ConnectionManagerConfig::new()
            .set_push_sender(move |push| {
                told.on_push(&push);
                Ok::<(), std::convert::Infallible>(())
            })
            .set_number_of_retries(0)
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout))
            // Many requests wait on the same connection: its queue must not be what they wait for.
            .set_pipeline_buffer_size(1024);
        let lanes = Arc::new(Lanes::new(options.client()?, config, options.lanes));
        Ok(Self { lanes, options: Arc::new(options), caches, breaker: Arc::new(Breaker::new()) })
    }

    /// What is kept of this Redis.
    pub(crate) fn caches(&self) -> &Caches {
        &self.caches
    }

    /// Sees to it that what is kept goes when Redis cannot tell of changes any more.
    pub(crate) fn watch_caches(&self) {
        Caches::watch(&self.caches, &self.lanes);
    }

    /// Closes what no command was sent over since the last call, unless something is kept of it in this process; says whether
    /// anything was open. The next command opens it again.
    pub fn close_idle(&self) -> bool {
        self.caches.is_empty() && self.lanes.close_idle()
    }

    /// What it was opened with.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Whether Redis is taken for dead, and asked now and then only.
    pub fn is_given_up(&self) -> bool {
        self.breaker.is_open()
    }

    /// What Redis tells of itself, in a section of `INFO`.
    pub async fn info(&self, section: &str) -> Result<String, Error> {
        self.read(redis::cmd("INFO").arg(section)).await
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.read(&redis::cmd("PING")).await
    }

    pub(crate) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.run(command, Effect::Read).await
    }

    /// Reads, and has Redis tell once when what was read changes. Where it will not, the answer is no basis for keeping
    /// anything: `false`.
    pub(crate) async fn read_tracked<T: FromRedisValue>(&self, command: &Cmd) -> Result<(T, bool), Error> {
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("CACHING").arg("YES");
        let mut commands = redis::pipe();
        commands.add_command(tracking).add_command(command.clone());
        let mut answers = self.pipeline(&commands, Vec::new(), Effect::Read).await?;
        if answers.first().is_none_or(Result::is_err) {
            // A new connection: nothing is told to it yet.
            let mut begin = redis::pipe();
            begin.cmd("CLIENT").arg("TRACKING").arg("ON").arg("OPTIN");
            for command in commands.cmd_iter() {
                begin.add_command(command.clone());
            }
            answers = self.pipeline(&begin, Vec::new(), Effect::Read).await?;
        }
        let answer = answers.pop().unwrap_or_else(|| Err(Error::Refused("no answer".into())))?;
        let is_tracked = answers.iter().all(Result::is_ok);
        Ok((from_value(answer)?, is_tracked))
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
        match self.send(&call.command, Some(call.script)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let _hash: String = self.run(&call.script.load(), Effect::Read).await?;
                let answer = self.send(&call.command, Some(call.script)).await;
                answer.map_err(|error| Error::from_redis(&error, effect))
            }
            answer => answer.map_err(|error| Error::from_redis(&error, effect)),
        }
    }

    /// Sends commands together and gives an answer for each. The scripts that they call are loaded first and at once
    /// with them: were one unknown, the commands after it would be carried out before it.
    pub(crate) async fn pipeline(
        &self,
        commands: &Pipeline,
        mut scripts: Vec<&'static Script>,
        effect: Effect,
    ) -> Result<Vec<Result<Value, Error>>, Error> {
        scripts.sort_by_key(|script| script.hash());
        scripts.dedup_by_key(|script| script.hash());
        let mut all = redis::pipe();
        for command in scripts.iter().map(|script| script.load()).chain(commands.cmd_iter().cloned()) {
            all.add_command(command);
        }
        let count = all.len();
        self.may_ask()?;
        let span = tracing::info_span!(
            target: TRACE_TARGET,
            "redis",
            otel.name = "PIPELINE",
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = "redis",
            db.operation.name = "PIPELINE",
            db.operation.batch.size = count,
            server.address = self.address(),
        );
        let mut manager = self.lanes.manager().map_err(|error| Error::from_redis(&error, effect))?;
        let answers = match manager.req_packed_commands(&all, 0, count).await {
            // As for a single command.
            Err(error) if error.is_connection_refusal() => manager.req_packed_commands(&all, 0, count).await,
            answers => answers,
        };
        self.note(&answers);
        if answers.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        let answers = answers.map_err(|error| Error::from_redis(&error, effect))?;
        let mut answers = answers
            .into_iter()
            .map(|answer| answer.extract_error().map_err(|error| Error::from_redis(&error, effect)));
        for _ in &scripts {
            answers.next().transpose()?;
        }
        Ok(answers.collect())
    }

    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd, effect: Effect) -> Result<T, Error> {
        self.may_ask()?;
        let answer = self.send(command, None).await;
        from_value(answer.map_err(|error| Error::from_redis(&error, effect))?)
    }

    async fn send(&self, command: &Cmd, script: Option<&'static Script>) -> Result<Value, RedisError> {
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
        let mut manager = self.lanes.manager()?;
        let answer = match manager.req_packed_command(command).await {
            // The manager tells of the attempt before this one, and has begun another: that one's result is asked
            // for. Nothing was executed.
            Err(error) if error.is_connection_refusal() => manager.req_packed_command(command).await,
            answer => answer,
        };
        self.note(&answer);
        let answer = answer.and_then(Value::extract_error);
        // A script that Redis does not know is loaded, and called again.
        let is_unknown_script =
            |error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
        if answer.as_ref().is_err_and(|error| !is_unknown_script(error)) {
            span.record("otel.status_code", "ERROR");
        }
        answer
    }

    fn address(&self) -> &str {
        let Endpoint::Standalone { address } = &self.options.endpoint;
        address
    }

    fn may_ask(&self) -> Result<(), Error> {
        if self.breaker.lets_through() {
            Ok(())
        } else {
            Err(Error::Unavailable("it has not answered for a while".into()))
        }
    }

    fn note<T>(&self, answer: &Result<T, RedisError>) {
        match answer {
            Err(error) if error.is_timeout() => self.breaker.missed(),
            // Also one that says no: it is there.
            _ => self.breaker.answered(),
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

fn from_value<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    T::from_redis_value(value).map_err(|_| Error::Refused("an answer of an unexpected type".into()))
}
