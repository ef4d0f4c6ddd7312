//! Writes what a sign-up needs in Kubernetes, one after the other: so a gateway counts exactly. First the Secret with the
//! account, then the Tenant.

use std::{collections::BTreeMap, time::Duration};

use axum::http::Request;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use keystead_kv::accounts::Account;
use keystead_route::TenantName;
use kube::{
    Api, Client, Error,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{LABEL, SECRET_KEY, SECRET_TYPE, secret_name, template::Template, unavailable};
use crate::{
    kubernetes,
    problem::{Code, Problem},
};

/// The API of Tenants, whose fields are known to the operator and the API server only.
const GROUP: &str = "keystead.io";
const VERSION: &str = "v1alpha1";
/// How long one sign-up may take; see `finisher::ABSENT`.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// How long it is known that there is no room, without a look.
const FULL_FOR: Duration = Duration::from_secs(5);
/// Names that are tried where one is taken: with 82 random bits nobody will see the second.
const NAMES: usize = 3;
/// Tenants in one answer of a list.
const PAGE: u32 = 500;

/// A tenant to be made for this account.
pub(super) struct Order {
    pub(super) account: Account,
    pub(super) reply: oneshot::Sender<Result<TenantName, Problem>>,
}

pub(super) struct Maker {
    pub(super) template: Template,
    pub(super) namespace: String,
    pub(super) max_tenants: u32,
}

impl Maker {
    pub(super) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let client = kubernetes::client().await;
        self.try_template(&client).await;
        let mut full_since: Option<Instant> = None;
        while let Some(Order { account, reply }) = orders.recv().await {
            // Who has gone before anything was begun wants nothing.
            if reply.is_closed() {
                continue;
            }
            full_since = full_since.filter(|since| since.elapsed() < FULL_FOR);
            let outcome = if full_since.is_some() {
                Err(self.full())
            } else {
                timeout(LIMIT, self.make(&client, &account)).await.unwrap_or_else(|_| {
                    tracing::error!("a sign-up failed: the apiserver does not answer");
                    Err(unavailable("Kubernetes has not answered in time"))
                })
            };
            let is_full = outcome.as_ref().is_err_and(|problem| problem.code == Code::SignUpFull);
            full_since = if is_full { full_since.or_else(|| Some(Instant::now())) } else { None };
            if reply.send(outcome).is_err() {
                tracing::info!("who signed up has gone before the tenant was there; it is made nevertheless");
            }
        }
    }

    /// Has the API server look at the template, so that what is wrong with it is known before somebody signs up.
    async fn try_template(&self, client: &Client) {
        let Ok(name) = new_name() else { return };
        let tried = timeout(LIMIT, self.create_tenant(client, &name, "&dryRun=All")).await;
        if let Ok(Err(error @ Error::Api(_))) = tried {
            tracing::error!(%error, "no tenant can be made: the Tenant is refused; see gateway.signUp.template");
        }
    }

    async fn make(&self, client: &Client, account: &Account) -> Result<TenantName, Problem> {
        let failed = |what: &'static str, error: Error| {
            tracing::error!(%error, "a sign-up failed: {what}");
            unavailable("the installation cannot make a tenant: its operators find why in the gateway's log")
        };
        let count = self.count(client).await.map_err(|error| failed("Tenants cannot be counted", error))?;
        if count >= self.max_tenants {
            tracing::warn!(count, "a sign-up was refused: --sign-up-max-tenants are there");
            return Err(self.full());
        }
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        for _ in 0..NAMES {
            let name = new_name()?;
            let secret = self.secret(&name, account)?;
            match secrets.create(&PostParams::default(), &secret).await {
                Ok(_) => {}
                Err(error) if is_taken(&error) => continue,
                Err(error) => return Err(failed("its Secret cannot be written", error)),
            }
            match self.create_tenant(client, &name, "").await {
                Ok(()) => {
                    tracing::info!(tenant = %name, "a tenant is made for who signed up");
                    return Ok(name);
                }
                Err(error) => {
                    // Where nobody knows whether the Tenant is there, the Secret stays: the finisher will see.
                    if matches!(&error, Error::Api(status) if (400..500).contains(&status.code)) {
                        let deleted = secrets.delete(&secret_name(&name), &DeleteParams::default()).await;
                        if let Err(error) = deleted {
                            tracing::warn!(%error, "the Secret of a sign-up that failed is left to the finisher");
                        }
                    }
                    if !is_taken(&error) {
                        return Err(failed("the Tenant is refused; see gateway.signUp.template", error));
                    }
                }
            }
        }
        Err(unavailable("no free name was found: retry"))
    }

    /// Tenants that were made by a sign-up, or at least as many as there may be.
    async fn count(&self, client: &Client) -> Result<u32, Error> {
        let tenants = tenants(client);
        let mut list = ListParams::default().labels(&format!("{LABEL}=true")).limit(PAGE);
        let mut count = 0;
        loop {
            let page = tenants.list_metadata(&list).await?;
            count += u32::try_from(page.items.len()).unwrap_or(u32::MAX);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if count < self.max_tenants => list = list.continue_token(&token),
                _ => return Ok(count),
            }
        }
    }

    fn secret(&self, name: &TenantName, account: &Account) -> Result<Secret, Problem> {
        let document = serde_json::to_vec(account)
            .map_err(|_| Problem::new(Code::Internal, "the account cannot be written"))?;
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(secret_name(name)),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), "true".to_owned())])),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(BTreeMap::from([(SECRET_KEY.to_owned(), ByteString(document))])),
            ..Secret::default()
        })
    }

    /// With strict validation, which `Api::create` cannot ask for: a field that does not exist is an error of the template.
    async fn create_tenant(&self, client: &Client, name: &TenantName, more: &str) -> Result<(), Error> {
        let body = manifest(name, self.template.spec()).to_string().into_bytes();
        let request = Request::post(format!("/apis/{GROUP}/{VERSION}/tenants?fieldValidation=Strict{more}"))
            .header("content-type", "application/json")
            .body(body)
            .map_err(|error| Error::BuildRequest(kube::core::request::Error::BuildRequest(error)))?;
        client.request::<Value>(request).await.map(drop)
    }

    fn full(&self) -> Problem {
        let detail = format!("{} tenants were made by sign-ups, and no more may be there", self.max_tenants);
        Problem::new(Code::SignUpFull, detail)
    }
}

/// Nothing in it tells who signed up: Tenants are read by more people than Secrets.
fn manifest(name: &TenantName, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Tenant",
        "metadata": {"name": name, "labels": {LABEL: "true"}},
        "spec": spec,
    })
}

pub(super) fn tenants(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GROUP, VERSION, "Tenant");
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "tenants"))
}

/// `t-` and 16 letters and digits: nobody guesses the name of another's tenant.
fn new_name() -> Result<TenantName, Problem> {
    const SYMBOLS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let word: String = (0..16).map(|_| char::from(SYMBOLS[rand::random_range(0..SYMBOLS.len())])).collect();
    format!("t-{word}").parse().map_err(|_| Problem::new(Code::Internal, "a tenant's name cannot be made"))
}

fn is_taken(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_already_exists())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_valid_and_never_the_same() {
        let names: HashSet<String> = (0..1000).map(|_| new_name().unwrap().to_string()).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 18 && name.starts_with("t-")));
    }

    #[test]
    fn a_tenant_carries_the_label_and_the_templates_spec_and_nothing_else() {
        let name: TenantName = "t-abc".parse().unwrap();
        assert_eq!(
            manifest(&name, &json!({"redis": {"version": "7.2"}})),
            json!({
                "apiVersion": "keystead.io/v1alpha1", "kind": "Tenant",
                "metadata": {"name": "t-abc", "labels": {"keystead.io/sign-up": "true"}},
                "spec": {"redis": {"version": "7.2"}},
            })
        );
    }
}
