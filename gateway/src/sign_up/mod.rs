//! Tenants of one's own: who registers without naming a tenant gets a new one, made from a template.
//!
//! A request touches no Kubernetes: it hands the account to the `maker`, which writes a Secret with the account and then the
//! Tenant, and it waits until some gateway's `finisher` has made the account in the new tenant's Redis. The Secret is there
//! before the Tenant and goes after the account is there: whichever gateway dies, another one finishes.

mod finisher;
mod maker;
mod template;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use keystead_kv::accounts::Account;
use keystead_route::TenantName;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Gateway,
    config::Arguments,
    problem::{Code, Problem},
    slot::Slot,
    tenants::Tenant,
};
use maker::{Maker, Order};
use template::Template;
pub use template::TemplateError;

/// Label of the Secrets with accounts that are to be made, and of the Tenants that were made by a sign-up.
const LABEL: &str = "keystead.io/sign-up";
/// Kubernetes type of such a Secret.
const SECRET_TYPE: &str = "keystead.io/sign-up";
/// Key of such a Secret under which the account is.
const SECRET_KEY: &str = "account.json";
/// Begins the name of such a Secret; the tenant's name follows.
const SECRET_PREFIX: &str = "sign-up-";
/// Sign-ups that may be under way at once in one gateway.
const MAX_WAITING: usize = 64;
/// Between two looks whether the account is there, if nobody tells of it.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a request waits until Secret and Tenant are written.
const MAKING: Duration = Duration::from_secs(15);
/// Tenants whose end is told and not yet heard; who has missed one looks by itself.
const TOLD: usize = 256;

/// What requests need for making tenants.
#[derive(Debug)]
pub struct SignUps {
    orders: mpsc::Sender<Order>,
    waiting: Arc<AtomicUsize>,
    wait: Duration,
    /// Tenants whose account some gateway has made.
    finished: broadcast::Sender<TenantName>,
    /// The process ends: nobody waits any longer.
    ending: watch::Sender<bool>,
}

/// A tenant that was asked for.
pub(crate) enum Asked {
    /// It answers, and the account is there.
    Ready(Arc<Tenant>),
    /// It is being made.
    Provisioning(TenantName),
}

impl SignUps {
    /// Begins to take orders, on this runtime; none where the installation makes no tenants.
    pub fn start(arguments: &Arguments) -> Result<Option<Self>, TemplateError> {
        let (Some(path), Some(namespace)) = (&arguments.sign_up_template, &arguments.routes_namespace) else {
            return Ok(None);
        };
        let template = Template::read(path)?;
        let (orders, received) = mpsc::channel(MAX_WAITING);
        let maker =
            Maker { template, namespace: namespace.clone(), max_tenants: arguments.sign_up_max_tenants };
        tokio::spawn(maker.run(received));
        Ok(Some(Self {
            orders,
            waiting: Arc::default(),
            wait: Duration::from_secs(arguments.sign_up_wait),
            finished: broadcast::Sender::new(TOLD),
            ending: watch::Sender::new(false),
        }))
    }

    /// A place among those who wait, or a refusal.
    pub(crate) fn enter(&self) -> Result<Slot, Problem> {
        let (slot, waiting) = Slot::take(&self.waiting);
        if waiting >= MAX_WAITING {
            let detail = format!("{MAX_WAITING} tenants are being made through this gateway: retry later");
            return Err(Problem::new(Code::TooBusy, detail));
        }
        Ok(slot)
    }

    /// Has a tenant made, and waits for its account. What was begun goes on where the caller gives up.
    pub(crate) async fn ask(&self, gateway: &Gateway, account: &Account) -> Result<Asked, Problem> {
        let until = Instant::now() + self.wait;
        let mut finished = self.finished.subscribe();
        let (reply, made) = oneshot::channel();
        let busy = |_| Problem::new(Code::TooBusy, "too many tenants are being made: retry later");
        self.orders.try_send(Order { account: account.clone(), reply }).map_err(busy)?;
        let late = || unavailable("Kubernetes has not answered in time");
        let name = timeout(MAKING, made).await.map_err(|_| late())?.map_err(|_| late())??;
        let (mut routes, mut ending) = (gateway.table.changes(), self.ending.subscribe());
        let ready = async {
            loop {
                if let Some(tenant) = gateway.table.get(name.as_str())
                    && matches!(tenant.accounts().find(&account.username).await, Ok(Some(_)))
                {
                    return Some(tenant);
                }
                // Each of these may be the last thing that was missing; an error is that the process ends.
                tokio::select! {
                    () = told(&mut finished, &name) => {}
                    changed = routes.changed() => changed.ok()?,
                    // The account may be there while this gateway's first connection is not.
                    () = tokio::time::sleep(AGAIN) => {}
                    _ = ending.wait_for(|ending| *ending) => return None,
                }
            }
        };
        match timeout_at(until, ready).await {
            Ok(Some(tenant)) => Ok(Asked::Ready(tenant)),
            Ok(None) | Err(_) => Ok(Asked::Provisioning(name)),
        }
    }

    /// Lets nobody wait any longer: what they wait for is finished by other gateways.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// A tenant's account is there.
    fn finish(&self, tenant: TenantName) {
        // Nobody may be waiting.
        let _ = self.finished.send(tenant);
    }
}

/// Waits until this tenant is told of, or something was missed.
async fn told(finished: &mut broadcast::Receiver<TenantName>, name: &TenantName) {
    while finished.recv().await.is_ok_and(|finished| finished != *name) {}
}

/// Makes the accounts of all sign-ups, those of other gateways too, for ever.
pub async fn follow(namespace: String, gateway: Arc<Gateway>) {
    finisher::follow(&namespace, &gateway).await;
}

fn unavailable(detail: &'static str) -> Problem {
    Problem::new(Code::SignUpUnavailable, detail)
}

fn secret_name(tenant: &TenantName) -> String {
    format!("{SECRET_PREFIX}{tenant}")
}
