//! Makes the accounts of sign-ups, also of those that another gateway has begun: a task for each Secret, until the Secret is
//! gone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use keystead_kv::accounts::{Account, Created};
use keystead_route::TenantName;
use kube::{
    Api, Client, ResourceExt as _,
    api::DeleteParams,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::{LABEL, SECRET_KEY, SECRET_PREFIX, maker};
use crate::{Gateway, kubernetes};

/// How long a Secret is seen before it is asked whether its Tenant is there: whoever wrote the Secret creates it within
/// `maker::LIMIT`, and the apiserver works on no request longer than a minute.
const ABSENT: Duration = Duration::from_secs(maker::LIMIT.as_secs() + 65);
/// Between two looks whether the Tenant is still there.
const LOOK: Duration = Duration::from_mins(1);
/// After a Redis that did not answer; it has just been started.
const REDIS: Duration = Duration::from_millis(500);
/// After an apiserver that did not answer.
const APISERVER: Duration = Duration::from_secs(5);

pub(super) async fn follow(namespace: &str, gateway: &Arc<Gateway>) {
    let client = kubernetes::client().await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().labels(&format!("{LABEL}=true"));
    let events = watcher(secrets.clone(), config).default_backoff();
    pin_mut!(events);
    let mut tasks: HashMap<String, AbortHandle> = HashMap::new();
    let mut listed: Vec<String> = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(secret)) => {
                listed.push(secret.name_any());
                begin(&mut tasks, &secret, gateway, &client, &secrets);
            }
            Ok(Event::InitDone) => {
                let gone: Vec<String> = tasks.keys().filter(|name| !listed.contains(name)).cloned().collect();
                for name in &gone {
                    end(&mut tasks, name, gateway);
                }
            }
            Ok(Event::Apply(secret)) => begin(&mut tasks, &secret, gateway, &client, &secrets),
            Ok(Event::Delete(secret)) => end(&mut tasks, &secret.name_any(), gateway),
            Err(error) => tracing::warn!(%error, "the watch of sign-ups broke; it is begun again"),
        }
    }
}

fn begin(
    tasks: &mut HashMap<String, AbortHandle>,
    secret: &Secret,
    gateway: &Arc<Gateway>,
    client: &Client,
    secrets: &Api<Secret>,
) {
    let name = secret.name_any();
    if tasks.contains_key(&name) {
        return;
    }
    let Some((tenant, account)) = read(secret) else {
        tracing::error!(secret = name, "a Secret with the label of sign-ups holds none: delete it");
        return;
    };
    let finisher = Finisher {
        tenant,
        account,
        secret: name.clone(),
        gateway: gateway.clone(),
        client: client.clone(),
        secrets: secrets.clone(),
    };
    tasks.insert(name, tokio::spawn(finisher.run()).abort_handle());
}

/// The Secret is gone: this gateway or another one has finished.
fn end(tasks: &mut HashMap<String, AbortHandle>, secret: &str, gateway: &Gateway) {
    if let Some(task) = tasks.remove(secret) {
        task.abort();
    }
    let tenant = secret.strip_prefix(SECRET_PREFIX).and_then(|name| name.parse().ok());
    if let (Some(sign_ups), Some(tenant)) = (&gateway.sign_ups, tenant) {
        sign_ups.finish(tenant);
    }
}

fn read(secret: &Secret) -> Option<(TenantName, Account)> {
    let tenant = secret.metadata.name.as_ref()?.strip_prefix(SECRET_PREFIX)?.parse().ok()?;
    let document = secret.data.as_ref()?.get(SECRET_KEY)?;
    Some((tenant, serde_json::from_slice(&document.0).ok()?))
}

struct Finisher {
    tenant: TenantName,
    account: Account,
    secret: String,
    gateway: Arc<Gateway>,
    client: Client,
    secrets: Api<Secret>,
}

impl Finisher {
    /// Ends when the Secret is deleted.
    async fn run(self) {
        let mut routes = self.gateway.table.changes();
        let mut look = Instant::now() + ABSENT;
        loop {
            let again = if let Some(tenant) = self.gateway.table.get(self.tenant.as_str()) {
                match tenant.accounts().create(&self.account).await {
                    Ok(created) => return self.finished(created).await,
                    Err(error) => {
                        tracing::debug!(tenant = %self.tenant, %error, "the Redis of a sign-up does not answer yet");
                        Instant::now() + REDIS
                    }
                }
            } else {
                look
            };
            if Instant::now() >= look {
                if self.is_tenant_gone().await {
                    tracing::warn!(tenant = %self.tenant, "the Tenant of a sign-up is not there: the sign-up is dropped");
                    return self.delete_secret().await;
                }
                look = Instant::now() + LOOK;
                continue;
            }
            // In time, or because a route has changed: both lead to another look.
            let _ = timeout_at(again.min(look), routes.changed()).await;
        }
    }

    async fn finished(&self, created: Created) {
        match created {
            Created::Done => tracing::info!(tenant = %self.tenant, "the account of a sign-up is made"),
            // By another gateway, or by this one before it could delete the Secret.
            Created::UsernameTaken => {
                tracing::debug!(tenant = %self.tenant, "the account of a sign-up is there");
            }
            Created::EmailTaken => {
                tracing::error!(tenant = %self.tenant, "somebody else has the e-mail address of a sign-up: it is dropped");
            }
        }
        if let Some(sign_ups) = &self.gateway.sign_ups {
            sign_ups.finish(self.tenant.clone());
        }
        self.delete_secret().await;
    }

    /// Only a clear answer counts.
    async fn is_tenant_gone(&self) -> bool {
        match maker::tenants(&self.client).get_metadata_opt(self.tenant.as_str()).await {
            Ok(found) => found.is_none(),
            Err(error) => {
                tracing::warn!(tenant = %self.tenant, %error, "it cannot be asked whether the Tenant of a sign-up is there");
                false
            }
        }
    }

    async fn delete_secret(&self) {
        loop {
            match self.secrets.delete(&self.secret, &DeleteParams::default()).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.is_not_found() => return,
                Err(error) => {
                    tracing::warn!(secret = self.secret, %error, "the Secret of a sign-up cannot be deleted");
                    tokio::time::sleep(APISERVER).await;
                }
            }
        }
    }
}
