//! A Replicated tenant on the real cluster: another member takes over, whatever is done to the pods, and nothing is lost.
//! Harder treatment is in the chaos suite.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod durability;
mod readers;
mod tls;

use std::time::Duration;

use keystead_e2e::{Gateway, Tenant, eventually, get_json, kubectl, kubectl_ok, within};
use serde_json::{Value, json};

/// The members' parts in the status, in the order of their ordinals.
fn roles(tenant: &Tenant) -> Vec<String> {
    let status = status(tenant);
    let members = status["redis"]["members"].as_array().cloned().unwrap_or_default();
    members.iter().map(|it| it["role"].as_str().unwrap_or_default().to_owned()).collect()
}

fn status(tenant: &Tenant) -> Value {
    get_json(&["tenant", &tenant.name]).expect("the Tenant is there")["status"].clone()
}

fn put(gateway: &Gateway, token: &str, key: &str, value: &Value) {
    within(Duration::from_mins(1), "the gateway writes", || {
        let answer = gateway.put(&format!("/api/v1/kv/{key}"), token, value);
        if matches!(answer.status, 200 | 201) { Ok(()) } else { Err(answer) }
    });
}

fn value(gateway: &Gateway, token: &str, key: &str) -> Value {
    eventually("the gateway reads", || {
        let answer = gateway.get(&format!("/api/v1/kv/{key}"), token);
        if answer.status == 200 { Ok(answer.body["value"].clone()) } else { Err(answer) }
    })
}

#[test]
fn another_member_takes_over_and_the_status_tells_of_it() {
    let spec = json!({"redis": {"topology": "Replicated", "durability": "Replicated"}});
    let tenant = Tenant::ready("trio", &spec);
    assert_eq!(roles(&tenant), ["Primary", "Replica", "Replica"]);
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    put(&gateway, &user.access_token, "before", &json!(1));

    // Its volume goes with it: what it comes back with is empty.
    let volume = tenant.field("persistentvolumeclaim", "data-redis-0", "/spec/volumeName");
    let path = get_json(&["persistentvolume", volume.as_str().expect("a volume")]).expect("the volume");
    let path = path["spec"]["local"]["path"].as_str().or(path["spec"]["hostPath"]["path"].as_str());
    let path = path.expect("a folder of this machine").to_owned();
    let namespace = tenant.namespace();
    kubectl_ok(&[
        "delete",
        "pod",
        "redis-0",
        "-n",
        &namespace,
        "--grace-period=0",
        "--force",
        "--wait=false",
    ]);
    for entry in std::fs::read_dir(&path).expect("the volume's folder").flatten() {
        let path = entry.path();
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        // Redis and Sentinel, which still end, remove temporary files of their own.
        assert!(gone.is_ok() || !path.exists(), "{}: {gone:?}", path.display());
    }
    within(Duration::from_mins(2), "another member is the primary", || {
        let redis = status(&tenant)["redis"].clone();
        let is_other = redis["primary"].is_string() && redis["primary"] != "redis-0";
        if is_other && redis["lastFailover"]["from"] == "redis-0" { Ok(()) } else { Err(redis) }
    });
    put(&gateway, &user.access_token, "after", &json!(2));
    tenant.wait_settled();
    for (key, wanted) in [("before", 1), ("after", 2)] {
        assert_eq!(value(&gateway, &user.access_token, key), json!(wanted), "{key}");
    }
    let events =
        kubectl_ok(&["get", "events", "-n", "default", "--field-selector", "involvedObject.name=trio"]);
    assert!(events.contains("takes the writes now, in the place of redis-0"), "{events}");
}

#[test]
fn all_members_deleted_at_once_come_back_with_the_data() {
    let spec = json!({"redis": {"topology": "Replicated", "durability": "Replicated"}});
    let tenant = Tenant::ready("lazarus", &spec);
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    for number in 0..20 {
        put(&gateway, &user.access_token, &format!("key-{number}"), &json!(number));
    }
    for grace in ["--grace-period=30", "--grace-period=0"] {
        let namespace = tenant.namespace();
        let selector = "app.kubernetes.io/component=redis";
        let mut arguments = vec!["delete", "pod", "-n", &namespace, "-l", selector, grace];
        if grace.ends_with("=0") {
            arguments.push("--force");
        }
        let deleted = kubectl(&arguments, None);
        assert!(deleted.success, "{}", deleted.stderr);
        put(&gateway, &user.access_token, "again", &json!(grace));
        tenant.wait_settled();
        for number in 0..20 {
            let key = format!("key-{number}");
            assert_eq!(value(&gateway, &user.access_token, &key), json!(number), "{key} after {grace}");
        }
    }
}

#[test]
fn one_redis_becomes_three_with_its_data() {
    let tenant = Tenant::ready("grower", &json!({}));
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    put(&gateway, &user.access_token, "kept", &json!("yes"));
    tenant.patch(&json!({"redis": {"topology": "Replicated"}}));
    tenant.wait_settled();
    assert_eq!(roles(&tenant).len(), 3);
    assert_eq!(value(&gateway, &user.access_token, "kept"), json!("yes"));
    put(&gateway, &user.access_token, "new", &json!(1));
    let refused = kubectl(
        &[
            "patch",
            "tenant",
            "grower",
            "--type=merge",
            "-p",
            r#"{"spec":{"redis":{"topology":"Standalone"}}}"#,
        ],
        None,
    );
    assert!(
        refused.stderr.contains("redis.topology changes only from Standalone to Replicated"),
        "{refused:?}"
    );
}
