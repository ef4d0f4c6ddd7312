//! The keys that sign tokens, on a real API server.

use keystead_operator::tenant::{
    credentials::{Contents, NoRandomness, contents, data, generate},
    rotation::signing::{REQUEST_ANNOTATION, TOLD_ANNOTATION},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, eventually, manifest},
    operator::Operator,
    provisioning::route,
};

/// What the gateways are told: the keys that verify, and the one that signs.
#[derive(Debug, PartialEq)]
struct Told {
    verify: Vec<Value>,
    signs: Value,
}

async fn told(cluster: &Cluster, tenant: &str) -> Told {
    let auth = route(cluster, tenant).await["auth"].clone();
    let keys = auth["keys"].as_array().cloned().unwrap_or_default();
    Told { verify: keys.iter().map(|key| key["id"].clone()).collect(), signs: auth["activeKey"].clone() }
}

/// Waits until the route says so and the Secret has these keys.
async fn until(cluster: &Cluster, tenant: &str, names: &[&str], is_so: impl Fn(&Told) -> bool) -> Told {
    eventually(&format!("{names:?}"), async || {
        let (told, secret) = (told(cluster, tenant).await, keys(cluster, tenant).await);
        let found: Vec<&String> = secret.keys().collect();
        if is_so(&told) && found == names { Ok(told) } else { Err(format!("{told:?}, {found:?}")) }
    })
    .await
}

async fn keys(cluster: &Cluster, tenant: &str) -> Contents {
    let secret = cluster.secret(tenant, "credentials").await.unwrap();
    contents(secret.get("data")).into_iter().filter(|(name, _)| name.starts_with("signing-")).collect()
}

/// As if the gateways had been told long ago; not before it is noted that they were.
async fn time_passes(cluster: &Cluster, tenant: &str) {
    eventually("it is noted that the gateways were told", async || {
        let secret = cluster.secret(tenant, "credentials").await.unwrap();
        let noted = &secret["metadata"]["annotations"][TOLD_ANNOTATION];
        if noted.is_string() { Ok(()) } else { Err(secret["metadata"].to_string()) }
    })
    .await;
    let patch = json!({ "metadata": { "annotations": { TOLD_ANNOTATION: "2020-01-01T00:00:00Z" } } });
    let api = cluster.api("", "v1", "Secret", Some(&format!("tenant-{tenant}")));
    api.patch("credentials", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

#[tokio::test]
async fn another_key_verifies_before_it_signs_and_the_former_ends_last() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-herald";
    cluster.apply_tenant(name, &json!({ "worker": { "replicas": 0 } })).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    let first = until(&cluster, name, &["signing-eddsa.pem"], |it| it.verify.len() == 1).await.signs;

    let patch = json!({ "metadata": { "annotations": { REQUEST_ANNOTATION: "1" } } });
    cluster.tenants().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let names = ["signing-eddsa-next.pem", "signing-eddsa.pem"];
    let both = until(&cluster, name, &names, |it| it.verify.len() == 2).await;
    assert_eq!(both.signs, first);
    // Without help: after half a minute.
    let names = ["signing-eddsa-former.pem", "signing-eddsa.pem"];
    let switched = until(&cluster, name, &names, |it| it.signs != first).await;
    assert!(switched.verify.contains(&first) && both.verify.contains(&switched.signs));
    time_passes(&cluster, name).await;
    let last = until(&cluster, name, &["signing-eddsa.pem"], |it| it.verify.len() == 1).await;
    assert_eq!(last.signs, switched.signs);
    assert!(!operator.log().contains("ERROR"), "{}", operator.log());
    cluster.clean_up().await;
}

fn key(algorithm: &str) -> Result<Value, NoRandomness> {
    let text = generate(&"any".parse().unwrap(), algorithm)?;
    Ok(data(&[(algorithm.to_owned(), text)].into()))
}

#[tokio::test]
async fn a_key_of_somebody_else_is_waited_for_and_taken_over_when_it_changes() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let (name, namespace) = ("kst-notary", "tenant-kst-notary");
    let spec = json!({
        "auth": { "existingSecret": "from-the-vault", "signing": "HS256" }, "worker": { "replicas": 0 },
    });
    cluster.apply_tenant(name, &spec).await;
    let says = async |wanted: &str| {
        eventually(wanted, async || {
            let tenant = cluster.tenants().get(name).await.unwrap();
            let said = serde_json::to_string(&tenant.status).unwrap();
            if said.contains(wanted) { Ok(()) } else { Err(said) }
        })
        .await;
    };
    let put = |data: &Value| {
        let text = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "from-the-vault", "namespace": namespace }, "data": data,
        });
        let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &text.to_string());
        assert!(done, "{said}");
    };
    says("auth.existingSecret: the Secret tenant-kst-notary/from-the-vault is not there yet").await;
    put(&data(&[("signing-hs256".to_owned(), "too short".to_owned())].into()));
    says("signing-hs256 is missing, or is not base64 of at least 32 bytes").await;

    let theirs = key("signing-hs256").unwrap();
    put(&theirs);
    cluster.wait_for(name, "RouteReady", "True").await;
    assert_eq!(data(&keys(&cluster, name).await), theirs);
    let first = told(&cluster, name).await.signs;

    let changed = key("signing-hs256").unwrap();
    put(&changed);
    let names = ["signing-hs256", "signing-hs256-next"];
    until(&cluster, name, &names, |it| it.verify.len() == 2 && it.signs == first).await;
    time_passes(&cluster, name).await;
    until(&cluster, name, &["signing-hs256", "signing-hs256-former"], |it| it.signs != first).await;
    time_passes(&cluster, name).await;
    until(&cluster, name, &["signing-hs256"], |it| it.verify.len() == 1).await;
    assert_eq!(data(&keys(&cluster, name).await), changed);

    let both = json!({ "auth": { "existingSecret": "from-the-vault", "rotateAfter": "2160h" } });
    let (taken, said) = cluster.kubectl(&["apply", "-f", "-"], &manifest(name, &both).to_string());
    assert!(!taken && said.contains("who keeps the signing key replaces it"), "{said}");
    cluster.clean_up().await;
}
