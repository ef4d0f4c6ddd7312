//! Writes that are acknowledged when they are on disks, and tenants with five members.

use keystead_e2e::{Gateway, Tenant, kubectl_ok};
use serde_json::json;

use super::{put, roles, status, value};

#[test]
fn a_write_that_is_on_the_disks_is_acknowledged() {
    let redis = json!({"topology": "Replicated", "durability": "Fsync", "version": "8.0"});
    let tenant = Tenant::ready("fsync", &json!({ "redis": redis }));
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    put(&gateway, &user.access_token, "first", &json!(1));
    // Each is waited for, whoever is the primary.
    kubectl_ok(&["delete", "pod", "redis-0", "-n", &tenant.namespace(), "--wait=false"]);
    for number in 0..20 {
        put(&gateway, &user.access_token, "last", &json!(number));
    }
    tenant.wait_settled();
    assert_eq!(status(&tenant)["redis"]["version"], "8.0");
    for (key, wanted) in [("first", 1), ("last", 19)] {
        assert_eq!(value(&gateway, &user.access_token, key), json!(wanted), "{key}");
    }
}

#[test]
fn five_members_lose_two_and_go_on() {
    let redis = json!({"topology": "Replicated", "durability": "Replicated", "members": 5});
    let tenant = Tenant::ready("quintet", &json!({ "redis": redis }));
    tenant.wait_settled();
    assert_eq!(roles(&tenant), ["Primary", "Replica", "Replica", "Replica", "Replica"]);
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    put(&gateway, &user.access_token, "before", &json!(1));
    let delete = ["delete", "pod", "redis-0", "redis-3", "--grace-period=0", "--force", "--wait=false"];
    kubectl_ok(&[&delete[..], &["-n", &tenant.namespace()]].concat());
    put(&gateway, &user.access_token, "meanwhile", &json!(2));
    tenant.wait_settled();
    for (key, wanted) in [("before", 1), ("meanwhile", 2)] {
        assert_eq!(value(&gateway, &user.access_token, key), json!(wanted), "{key}");
    }
}
