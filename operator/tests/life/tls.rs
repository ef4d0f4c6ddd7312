//! The certificates of a tenant whose Redis speaks TLS, on a real API server.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use keystead_operator::tenant::{
    certificates::{CERTIFICATE, CHANGED_ANNOTATION, Certificate, Issued, KEY, TRUSTED},
    credentials::{Contents, contents, data},
};
use kube::api::{DeleteParams, Patch, PatchParams};
use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, eventually, manifest},
    operator::Operator,
    provisioning::route,
};

/// Without a worker, whose pods would have to be replaced before a step.
fn spec(tls: &Value) -> Value {
    json!({ "redis": { "tls": tls }, "worker": { "replicas": 0 } })
}

async fn secret(cluster: &Cluster, tenant: &str, name: &str) -> Option<Contents> {
    let secret = cluster.get("", "v1", "Secret", &format!("tenant-{tenant}"), name).await?;
    Some(contents(secret.get("data")))
}

async fn issued(cluster: &Cluster, tenant: &str) -> Issued {
    let contents = secret(cluster, tenant, "redis-tls").await.unwrap();
    Issued::read(&contents).unwrap()
}

async fn change(cluster: &Cluster, tenant: &str, name: &str, patch: &Value) {
    let api = cluster.api("", "v1", "Secret", Some(&format!("tenant-{tenant}")));
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Waits until the certificate and whom to trust are so, and the route says the same.
async fn until(cluster: &Cluster, tenant: &str, what: &str, is_so: impl Fn(&Issued) -> bool) -> Issued {
    eventually(what, async || {
        let issued = issued(cluster, tenant).await;
        let told = route(cluster, tenant).await["redis"]["tls"]["ca"].clone();
        if is_so(&issued) && told == issued.ca() { Ok(issued) } else { Err(format!("{issued:?}, {told}")) }
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_made_and_renewed_in_time() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-tls";
    cluster.apply_tenant(name, &spec(&json!({ "enabled": true }))).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    let first = until(&cluster, name, "the route has the authority", |it| it.trusted.len() == 1).await;

    // One of which little time is left, as if the operator had been away.
    let own = secret(&cluster, name, "redis-ca").await.unwrap();
    let issuer = Issuer::from_ca_cert_pem(&own[CERTIFICATE], KeyPair::from_pem(&own[KEY]).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let now = Duration::from_secs(Timestamp::now().as_second().unsigned_abs());
    let day = Duration::from_hours(24);
    let service = cluster.get("", "v1", "Service", &format!("tenant-{name}"), "redis").await.unwrap();
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let names = ["localhost", "*.tenant-kst-tls.svc", "127.0.0.1", address];
    let mut params = CertificateParams::new(names.map(str::to_owned)).unwrap();
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(80 * day);
    params.not_after = date_time_ymd(1970, 1, 1) + (now + day);
    let short = params.signed_by(&key, &issuer).unwrap().pem();
    let put = [(CERTIFICATE.to_owned(), short.clone()), (KEY.to_owned(), key.serialize_pem())];
    change(&cluster, name, "redis-tls", &json!({ "data": data(&put.into()) })).await;
    let short = Certificate::all(&short).remove(0);
    let is_renewed = |it: &Issued| it.certificate != short && it.certificate.until >= first.certificate.until;
    let renewed = until(&cluster, name, "it is renewed", is_renewed).await;
    assert_eq!(renewed.trusted, first.trusted);
    cluster.clean_up().await;
}

#[tokio::test]
async fn another_authority_is_trusted_first_and_signs_when_all_have_heard_of_it() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-ca";
    cluster.apply_tenant(name, &spec(&json!({ "enabled": true }))).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    let first = until(&cluster, name, "the route has the authority", |it| it.trusted.len() == 1).await;
    let api = cluster.api("", "v1", "Secret", Some(&format!("tenant-{name}")));
    api.delete("redis-ca", &DeleteParams::default()).await.unwrap();
    let both = until(&cluster, name, "both are trusted", |it| it.trusted.len() == 2).await;
    assert_eq!(both.certificate, first.certificate);
    // The time is over.
    let long_ago = json!({ "metadata": { "annotations": { CHANGED_ANNOTATION: "2020-01-01T00:00:00Z" } } });
    change(&cluster, name, "redis-tls", &long_ago).await;
    let next = until(&cluster, name, "the new one signs", |it| it.certificate != first.certificate).await;
    assert_eq!(next.trusted, both.trusted);
    change(&cluster, name, "redis-tls", &long_ago).await;
    let last = until(&cluster, name, "the former is forgotten", |it| it.trusted.len() == 1).await;
    assert!(last.certificate == next.certificate && last.trusted != first.trusted);
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_tenant_waits_for_the_authority_of_somebody_else() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let (name, namespace) = ("kst-company", "tenant-kst-company");
    cluster.apply_tenant(name, &spec(&json!({ "enabled": true, "issuerSecretRef": "company-ca" }))).await;
    eventually("it says what it waits for", async || {
        let tenant = cluster.tenants().get(name).await.unwrap();
        let said = serde_json::to_string(&tenant.status).unwrap();
        let wanted = "redis.tls.issuerSecretRef: the Secret tenant-kst-company/company-ca is not there yet";
        if said.contains(wanted) { Ok(()) } else { Err(said) }
    })
    .await;
    let made = keystead_operator::tenant::certificates::make_authority(
        &name.parse().unwrap(),
        Timestamp::from_second(Timestamp::now().as_second()).unwrap(),
    );
    let company = made.unwrap();
    let text = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "company-ca", "namespace": namespace },
        "data": data(&company),
    });
    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &text.to_string());
    assert!(done, "{said}");
    cluster.wait_for(name, "RouteReady", "True").await;
    let told = secret(&cluster, name, "redis-tls").await.unwrap()[TRUSTED].clone();
    assert_eq!(told, company[CERTIFICATE]);
    assert!(secret(&cluster, name, "redis-ca").await.is_none());
    let (taken, said) = cluster
        .kubectl(&["apply", "-f", "-"], &manifest(name, &spec(&json!({ "enabled": false }))).to_string());
    assert!(!taken && said.contains("redis.tls.enabled cannot be changed"), "{said}");
    cluster.clean_up().await;
}
