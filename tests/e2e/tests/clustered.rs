//! A Cluster tenant on the real cluster: formed, used through the gateway, resized, and whole again after a loss. Harder
//! treatment is in the chaos suite.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{collections::BTreeSet, time::Duration};

use keystead_e2e::{Gateway, Tenant, get_json, kubectl_ok, within};
use serde_json::{Value, json};

const KEYS: usize = 300;

fn status(tenant: &Tenant) -> Value {
    get_json(&["tenant", &tenant.name]).expect("the Tenant is there")["status"]["redis"].clone()
}

/// Shards that have a primary, as the status tells.
fn shards_with_primary(tenant: &Tenant) -> BTreeSet<u64> {
    let members = status(tenant)["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter(|it| it["role"] == "Primary").filter_map(|it| it["shard"].as_u64()).collect()
}

fn put_all(gateway: &Gateway, token: &str, value: &Value) {
    for number in 0..KEYS {
        let path = format!("/api/v1/kv/key-{number:03}");
        within(Duration::from_mins(1), "the gateway writes", || {
            let answer = gateway.put(&path, token, value);
            if matches!(answer.status, 200 | 201) { Ok(()) } else { Err(answer) }
        });
    }
}

/// All keys are there, in order and with this value, page after page.
fn assert_all(gateway: &Gateway, token: &str, value: &Value) {
    let mut found = Vec::new();
    let mut path = "/api/v1/kv?page_size=70&values=true&cursor=".to_owned();
    loop {
        let answer = gateway.get(&path, token);
        assert_eq!(answer.status, 200, "{answer:?}");
        for item in answer.body["items"].as_array().expect("items") {
            assert_eq!(&item["value"], value, "{item}");
            found.push(item["key"].as_str().expect("a key").to_owned());
        }
        match answer.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/kv?page_size=70&values=true&cursor={cursor}"),
            None => break,
        }
    }
    let wanted: Vec<_> = (0..KEYS).map(|number| format!("key-{number:03}")).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_cluster_is_formed_and_resized_and_heals() {
    let tenant = Tenant::ready(
        "shards",
        &json!({"redis": {"topology": "Cluster", "durability": "Replicated", "tls": {"enabled": true}}}),
    );
    tenant.wait_settled();
    assert_eq!(shards_with_primary(&tenant), BTreeSet::from([0, 1, 2]));
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    let token = &user.access_token;
    put_all(&gateway, token, &json!("first"));
    assert_all(&gateway, token, &json!("first"));

    // A primary with all that it has: its shard's replica takes over.
    let members = status(&tenant)["members"].as_array().cloned().expect("members");
    let primary = members.iter().find(|it| it["role"] == "Primary").expect("a primary");
    let primary = primary["name"].as_str().expect("a name");
    kubectl_ok(&[
        "delete",
        "pod",
        primary,
        "-n",
        &tenant.namespace(),
        "--grace-period=0",
        "--force",
        "--wait=false",
    ]);
    put_all(&gateway, token, &json!("second"));
    tenant.wait_settled();

    for shards in [4, 3] {
        tenant.patch(&json!({"redis": {"shards": shards}}));
        let value = json!(format!("with {shards} shards"));
        put_all(&gateway, token, &value);
        tenant.wait_settled();
        assert_eq!(shards_with_primary(&tenant), (0..shards).collect(), "{}", status(&tenant));
        assert_all(&gateway, token, &value);
    }

    gateway.job_done(token, "kv.export");
}
