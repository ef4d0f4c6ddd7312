//! Leader election by a Lease: of several operators one acts. The lease is renewed while it is held; who cannot renew it
//! in time has lost it and must stop; who ends in good order gives it back, so that the next takes over at once.
//!
//! No clock is compared with another machine's: a lease has run out when it has not changed for its duration as seen
//! from here (as in client-go's leaderelection).

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a lease is good for after its last renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// A holder that could not renew for so long stops, some time before another may begin.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How long one attempt may take, so that an API server which has gone without a word is asked again while there is time.
const ANSWER: Duration = Duration::from_secs(2);
/// Between attempts that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The lease by which the operators of an installation choose their leader.
#[derive(Clone)]
pub struct Lease {
    api: Api<Object>,
    name: String,
    identity: String,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Lease {} as {}", self.name, self.identity)
    }
}

/// What another holder was last seen to have written, and when that was seen.
struct Sighting {
    record: (Option<String>, Option<MicroTime>, Option<String>),
    at: Instant,
}

impl Lease {
    /// `identity` must be another for every process.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.into(), identity: identity.into() }
    }

    /// Waits until this process is the leader.
    pub async fn acquire(&self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = Box::pin(watcher(self.api.clone(), config).default_backoff());
        let mut sighting: Option<Sighting> = None;
        loop {
            let next_try = match timeout(ANSWER, self.try_acquire(&mut sighting)).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => sighting.as_ref().map_or_else(Instant::now, |it| it.at + DURATION),
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "the lease cannot be asked for, trying again");
                    Instant::now() + RETRY
                }
                Err(_) => {
                    tracing::warn!(lease = self.name, "the lease cannot be asked for in time, trying again");
                    Instant::now() + RETRY
                }
            };
            tokio::select! {
                () = sleep_until(next_try) => {}
                // At once when it is given back or has gone.
                _ = changes.next() => {}
            }
        }
    }

    async fn try_acquire(&self, sighting: &mut Option<Sighting>) -> Result<bool, kube::Error> {
        let Some(mut found) = self.api.get_opt(&self.name).await? else {
            let lease = Object {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.held(None)),
            };
            return taken(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = found.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().filter(|it| !it.is_empty());
        let is_free = holder.is_none() || holder.as_deref() == Some(&self.identity);
        if !is_free {
            let record = (holder, spec.renew_time.clone(), found.metadata.resource_version.clone());
            match sighting {
                Some(seen) if seen.record == record => {
                    if seen.at.elapsed() < DURATION {
                        return Ok(false);
                    }
                }
                _ => {
                    *sighting = Some(Sighting { record, at: Instant::now() });
                    return Ok(false);
                }
            }
        }
        // With its resource version: of several that try, one succeeds.
        found.spec = Some(self.held(Some(&spec)));
        taken(self.api.replace(&self.name, &PostParams::default(), &found).await)
    }

    /// Renews for as long as it can; returns when the lease is lost.
    pub async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            sleep(RENEW).await;
            loop {
                match timeout(ANSWER, self.renew()).await {
                    Ok(Ok(true)) => {
                        renewed = Instant::now();
                        break;
                    }
                    Ok(Ok(false)) => return,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, lease = self.name, "the lease cannot be renewed");
                    }
                    Err(_) => tracing::warn!(lease = self.name, "the lease cannot be renewed in time"),
                }
                if renewed.elapsed() >= GIVE_UP {
                    return;
                }
                sleep(RETRY).await;
            }
        }
    }

    /// False where it is another's by now.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let Some(mut found) = self.api.get_opt(&self.name).await? else { return Ok(false) };
        let spec = found.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(false);
        }
        found.spec = Some(LeaseSpec { renew_time: Some(MicroTime(Timestamp::now())), ..spec });
        self.api.replace(&self.name, &PostParams::default(), &found).await.map(|_| true)
    }

    /// Gives the lease back, if it is held.
    pub async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut found) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let spec = found.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        found.spec =
            Some(LeaseSpec { holder_identity: None, renew_time: Some(MicroTime(Timestamp::now())), ..spec });
        taken(self.api.replace(&self.name, &PostParams::default(), &found).await).map(drop)
    }

    fn held(&self, former: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = former.and_then(|it| it.lease_transitions).unwrap_or_default();
        let changes_hands = former.is_some_and(|it| it.holder_identity.as_deref() != Some(&self.identity));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(transitions + i32::from(changes_hands)),
            ..LeaseSpec::default()
        }
    }
}

/// Whether a write went through; false where another was faster.
fn taken(answer: Result<Object, kube::Error>) -> Result<bool, kube::Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
