//! One tenant as a request sees it: its keys prepared, its connection shared, its requests counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::http::Extensions;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jsonwebtoken::{DecodingKey, EncodingKey};
use keystead_kv::{
    ConnectOptions, Connection, InvalidKey, Keyring, Observer, Store, accounts::Accounts, api_keys::ApiKeys,
    audit::AuditLog, feed::Feed, idempotency::Requests, queue::Queue,
};
use keystead_route::{Algorithm, Auth, Route, SigningKey, TenantName};

use super::{
    rates::Rates,
    room::{LARGE, Room},
};
use crate::{
    audit::Trail,
    auth::Principal,
    finish::Noted,
    issuers::{Issuers, Trusted},
    problem::{Code, Problem},
    sleep::Used,
    slot::Slot,
    telemetry::{Counters, Failures, Operations},
};

/// Most requests of one tenant under way at once in one gateway: beyond that they are answered 503 at once, so that a
/// slow Redis holds up neither memory nor other tenants.
const MAX_IN_FLIGHT: usize = 1024;
/// Most requests of one tenant that were not carried out and are being forgotten, in one gateway: a Redis that is away gathers no more.
const MAX_FORGETTING: usize = 256;
/// Most clients of one tenant that watch its changes, or stream its entries, through one gateway.
const MAX_WATCHERS: usize = 100;
/// Most passwords of one tenant that are checked at once or wait for it, in one gateway: who tries names of one tenant holds up
/// neither the others' log-ins, nor fills its Redis with names faster than passwords are checked.
const MAX_PASSWORDS: usize = 16;
/// Bytes of large answers of one tenant that may wait in one gateway for clients to read them: beyond that its requests are
/// answered 503 at once.
const MAX_UNTAKEN: usize = 64 * 1024 * 1024;
/// Bytes of large bodies of one tenant's requests that one gateway holds at once: beyond that, what comes is answered 503.
pub(crate) const MAX_BODIES: usize = 64 * 1024 * 1024;
/// For how long a request waits for a single Redis that is restarted on purpose: as long as for a tenant that wakes.
const RESTART: Duration = Duration::from_secs(10);
/// For how long values are still written with the key before after a change of keys: all gateways learn of it well within.
const KEY_CHANGE_OVER: Duration = Duration::from_secs(5);
/// RFC 7518, section 3.2: an HS256 key has at least as many bits as the hash.
const MIN_SECRET_BYTES: usize = 32;

/// A tenant that is served.
pub(crate) struct Tenant {
    /// Shared with who follows where routes come from.
    route: Arc<Route>,
    pub(crate) keys: Arc<Keys>,
    keyring: Option<Keyring>,
    /// Other issuers; a change of any makes another `Arc`, as with the keys.
    pub(crate) trusted: Arc<Vec<Trusted>>,
    connection: Connection,
    in_flight: Arc<AtomicUsize>,
    forgetting: Arc<AtomicUsize>,
    watchers: Arc<AtomicUsize>,
    /// None: what is done is not written down.
    trail: Option<Arc<Trail>>,
    /// Bytes of large answers that clients have not taken yet.
    untaken: Arc<AtomicUsize>,
    /// Bytes of large bodies that are here or on their way.
    bodies: Arc<AtomicUsize>,
    used: Arc<Used>,
    rates: Option<Arc<Rates>>,
    passwords: Arc<AtomicUsize>,
    /// That were written to the access log.
    pub(crate) failures: Arc<Failures>,
    pub(crate) operations: Arc<Operations>,
}

/// The tenant's keys, prepared; a change of any makes another `Arc`, by which cached tokens are known to be stale.
pub(crate) struct Keys {
    pub(crate) verifying: Vec<VerifyingKey>,
    pub(crate) signing: EncodingKey,
    pub(crate) signing_id: String,
    pub(crate) signing_algorithm: jsonwebtoken::Algorithm,
}

pub(crate) struct VerifyingKey {
    pub(crate) id: String,
    pub(crate) algorithm: jsonwebtoken::Algorithm,
    pub(crate) key: DecodingKey,
}

/// Why a route cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("auth.keys[{0}]: an EdDSA secret is an Ed25519 private key as PKCS#8 PEM")]
    Ed25519(String),
    #[error("auth.keys[{0}]: an HS256 secret is base64 of at least {MIN_SECRET_BYTES} bytes")]
    Hs256(String),
    #[error("auth.activeKey {0:?} is not among auth.keys")]
    NoActiveKey(String),
    #[error(transparent)]
    Encryption(#[from] InvalidKey),
    #[error(transparent)]
    Redis(#[from] keystead_kv::Error),
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tenant").field("name", &self.route.tenant).finish_non_exhaustive()
    }
}

impl Tenant {
    /// Prepares a tenant, with what is unchanged of the one before.
    pub(crate) fn from_route(
        route: Arc<Route>,
        old: Option<&Arc<Self>>,
        operations: &Counters,
        issuers: &Issuers,
        lanes: usize,
    ) -> Result<Arc<Self>, Unusable> {
        if let Some(old) = old.filter(|old| old.route == route) {
            return Ok(old.clone());
        }
        let keys = match old.filter(|old| {
            old.route.auth.keys == route.auth.keys && old.route.auth.active_key == route.auth.active_key
        }) {
            Some(old) => old.keys.clone(),
            None => Arc::new(Keys::from_auth(&route.auth)?),
        };
        let trusted = match old.filter(|old| old.route.auth.issuers == route.auth.issuers) {
            Some(old) => old.trusted.clone(),
            None => issuers.trusted(&route.auth.issuers),
        };
        // With one that comes and goes, connections, breaker and what is kept begin anew.
        let is_same = |old: &&Arc<Self>| {
            old.route.redis.is_same_place(&route.redis)
                && old.route.redis.restarts == route.redis.restarts
                && old.route.cache == route.cache
                && old.route.hibernation.is_some_and(|it| it.asleep)
                    == route.hibernation.is_some_and(|it| it.asleep)
        };
        let operations = old.map_or_else(
            || Arc::new(Operations::new(operations, route.tenant.as_str())),
            |old| old.operations.clone(),
        );
        let connection = if let Some(old) = old.filter(is_same) {
            old.connection.clone()
        } else {
            let redis = &route.redis;
            let (username, password) = (redis.username.clone(), redis.password.clone());
            let mut options = ConnectOptions::new(redis.endpoint.clone(), username, password);
            options.lanes = lanes;
            options.cache_bytes = route.cache.as_ref().map_or(0, |cache| cache.max_bytes);
            options.durability = redis.durability;
            options.tls.clone_from(&redis.tls);
            if redis.restarts {
                options.hold = RESTART;
            }
            let counted = operations.clone();
            options.observer = Observer::new(move |what| counted.count_replication(what));
            Connection::open(options)?
        };
        let keyring = match old.filter(|old| old.route.encryption == route.encryption) {
            Some(old) => old.keyring.clone(),
            None => keyring(&route, old)?,
        };
        let trail = route.audit.as_ref().map(|audit| match old.and_then(|old| old.trail.clone()) {
            Some(trail) => {
                trail.turn_to(connection.clone(), audit.max_entries);
                trail
            }
            None => Trail::start(connection.clone(), audit.max_entries, operations.clone()),
        });
        let in_flight = old.map(|old| old.in_flight.clone()).unwrap_or_default();
        let forgetting = old.map(|old| old.forgetting.clone()).unwrap_or_default();
        let watchers = old.map(|old| old.watchers.clone()).unwrap_or_default();
        let untaken = old.map(|old| old.untaken.clone()).unwrap_or_default();
        let bodies = old.map(|old| old.bodies.clone()).unwrap_or_default();
        let used = old.map(|old| old.used.clone()).unwrap_or_default();
        // Other limits begin with full buckets.
        let rates = match old.filter(|old| old.route.limits == route.limits) {
            Some(old) => old.rates.clone(),
            None => Rates::of(&route.limits),
        };
        let passwords = old.map(|old| old.passwords.clone()).unwrap_or_default();
        let failures = old.map(|old| old.failures.clone()).unwrap_or_default();
        Ok(Arc::new(Self {
            route,
            keys,
            keyring,
            trusted,
            connection,
            in_flight,
            forgetting,
            watchers,
            trail,
            untaken,
            bodies,
            used,
            rates,
            passwords,
            failures,
            operations,
        }))
    }

    pub(crate) fn name(&self) -> &TenantName {
        &self.route.tenant
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.route.suspended
    }

    /// Whether it sleeps where nobody uses it.
    pub(crate) fn may_sleep(&self) -> bool {
        self.route.hibernation.is_some()
    }

    /// Whether its Redis is not to be asked, as it sleeps or is about to.
    pub(crate) fn is_asleep(&self) -> bool {
        self.route.hibernation.is_some_and(|hibernation| hibernation.asleep)
    }

    pub(crate) fn used(&self) -> &Used {
        &self.used
    }

    /// Somebody who may has asked for something.
    pub(crate) fn touch(&self) {
        if self.may_sleep() {
            self.used.touch();
        }
    }

    pub(crate) fn trusts(&self, issuer: &str) -> bool {
        self.trusted.iter().any(|trusted| trusted.issuer.issuer == issuer)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Where what is done is noted, if it is.
    pub(crate) fn trail(&self) -> Option<&Arc<Trail>> {
        self.trail.as_ref()
    }

    pub(crate) fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.connection.clone())
    }

    /// Requests under way, and clients that watch.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.in_flight.load(Ordering::Relaxed), self.watchers.load(Ordering::Relaxed))
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.connection.clone())
            .with_max_keys(self.route.limits.max_keys.unwrap_or(0))
            .with_keyring(self.keyring.clone())
    }

    pub(crate) fn queue(&self) -> Queue {
        Queue::new(self.connection.clone()).with_keyring(self.keyring.clone())
    }

    pub(crate) fn accounts(&self) -> Accounts {
        Accounts::new(self.connection.clone())
    }

    pub(crate) fn feed(&self) -> Feed {
        Feed::new(self.connection.clone())
    }

    pub(crate) fn requests(&self) -> Requests {
        Requests::new(self.connection.clone(), self.keyring.clone())
    }

    pub(crate) fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.connection.clone())
    }

    /// Counts in a request of somebody who has proved nothing yet, and against the rate of such, or refuses it; it is counted out
    /// when the guard is dropped.
    pub(crate) fn enter(&self, extensions: &Extensions) -> Result<Slot, Problem> {
        Noted::set_failures(extensions, &self.failures);
        let slot = self.hold()?;
        if let Some(rates) = &self.rates {
            rates.count_stranger(extensions)?;
        }
        Ok(slot)
    }

    /// Counts in a password that is to be checked or hashed, or refuses it.
    pub(crate) fn password(&self) -> Result<Slot, Problem> {
        let (slot, under_way) = Slot::take(&self.passwords);
        if under_way >= MAX_PASSWORDS {
            return Err(Problem::new(Code::TooBusy, "too many log-ins of this tenant at once: retry later"));
        }
        Ok(slot)
    }

    /// Counts in a request that is to be forgotten; none where there are too many.
    pub(crate) fn forgetting(&self) -> Option<Slot> {
        let (slot, under_way) = Slot::take(&self.forgetting);
        (under_way < MAX_FORGETTING).then_some(slot)
    }

    /// Whether a request that is refused may be kept waiting: half of the places are for those that are not.
    pub(crate) fn may_keep_waiting(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) <= MAX_IN_FLIGHT / 2
    }

    /// Counts a request in, or refuses it where the tenant is suspended or too many are under way.
    pub(crate) fn hold(&self) -> Result<Slot, Problem> {
        if self.route.suspended {
            return Err(Problem::new(
                Code::TenantSuspended,
                "the tenant's spec.suspend is true: its data is kept",
            ));
        }
        if self.untaken.load(Ordering::Relaxed) > MAX_UNTAKEN {
            let detail = "this tenant's clients do not read their answers: retry later";
            return Err(Problem::new(Code::TooBusy, detail));
        }
        let (slot, under_way) = Slot::take(&self.in_flight);
        if under_way >= MAX_IN_FLIGHT {
            let detail = format!("{MAX_IN_FLIGHT} requests of this tenant are under way: retry later");
            return Err(Problem::new(Code::TooBusy, detail));
        }
        Ok(slot)
    }

    /// An answer's bytes, which are counted until the client has taken them where they are many: a slow client holds them in
    /// memory for as long as it likes.
    pub(crate) fn answer(&self, bytes: impl AsRef<[u8]> + Send + Into<Bytes> + 'static) -> Bytes {
        let length = bytes.as_ref().len();
        if length < LARGE {
            return bytes.into();
        }
        let mut room = Room::new(&self.untaken);
        room.grow_to(length);
        room.around(bytes)
    }

    /// Room for a request's body, as it comes; bounded by [`MAX_BODIES`].
    pub(crate) fn room(&self) -> Room {
        Room::new(&self.bodies)
    }

    /// Counts a client in whose answer may take long, or refuses it.
    pub(crate) fn watch(&self) -> Result<Slot, Problem> {
        let (slot, watching) = Slot::take(&self.watchers);
        if watching >= MAX_WATCHERS {
            let detail =
                format!("{MAX_WATCHERS} clients of this tenant watch or stream already: retry later");
            return Err(Problem::new(Code::TooBusy, detail));
        }
        Ok(slot)
    }

    /// Counts a request against the user's rate and the tenant's, or refuses it.
    pub(crate) fn count(&self, principal: &Principal, extensions: &Extensions) -> Result<(), Problem> {
        self.rates.as_ref().map_or(Ok(()), |rates| rates.count(principal, extensions))
    }
}

/// The keys of values. Where the tenant was served before, what is written changes only after all gateways know the keys.
fn keyring(route: &Route, old: Option<&Arc<Tenant>>) -> Result<Option<Keyring>, InvalidKey> {
    let Some(encryption) = &route.encryption else { return Ok(None) };
    let keyring = Keyring::new(encryption)?;
    Ok(Some(match old {
        Some(old) => keyring.succeeding(old.keyring.as_ref(), KEY_CHANGE_OVER),
        None => keyring,
    }))
}

impl Keys {
    fn from_auth(auth: &Auth) -> Result<Self, Unusable> {
        let prepared: Vec<(VerifyingKey, EncodingKey)> =
            auth.keys.iter().map(prepare).collect::<Result<_, _>>()?;
        let active = auth.keys.iter().position(|key| key.id == auth.active_key);
        let active = active.ok_or_else(|| Unusable::NoActiveKey(auth.active_key.clone()))?;
        let signing = prepared[active].1.clone();
        let signing_algorithm = prepared[active].0.algorithm;
        let verifying = prepared.into_iter().map(|(verifying, _)| verifying).collect();
        Ok(Self { verifying, signing, signing_id: auth.active_key.clone(), signing_algorithm })
    }
}

fn prepare(key: &SigningKey) -> Result<(VerifyingKey, EncodingKey), Unusable> {
    let id = key.id.clone();
    match key.algorithm {
        Algorithm::EdDSA => {
            let wrong = || Unusable::Ed25519(id.clone());
            let body: String =
                key.secret.expose().lines().filter(|line| !line.starts_with("-----")).collect();
            let der = BASE64_STANDARD.decode(body).map_err(|_| wrong())?;
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| wrong())?;
            let verifying = VerifyingKey {
                id: id.clone(),
                algorithm: jsonwebtoken::Algorithm::EdDSA,
                key: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            };
            Ok((verifying, EncodingKey::from_ed_der(&der)))
        }
        Algorithm::HS256 => {
            let secret = BASE64_STANDARD.decode(key.secret.expose()).unwrap_or_default();
            if secret.len() < MIN_SECRET_BYTES {
                return Err(Unusable::Hs256(id));
            }
            let verifying = VerifyingKey {
                id,
                algorithm: jsonwebtoken::Algorithm::HS256,
                key: DecodingKey::from_secret(&secret),
            };
            Ok((verifying, EncodingKey::from_secret(&secret)))
        }
    }
}
