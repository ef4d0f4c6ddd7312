//! A tenant whose Redis is reached by TLS only, by the gateway, the worker, the operator and the members among each other.

use keystead_e2e::{Gateway, Tenant, kubectl, kubectl_ok};
use serde_json::json;

use super::{put, value};

/// `--insecure`: the operator's certificate names the addresses of Services.
const PING: &str = "REDISCLI_AUTH=\"$(cat /etc/keystead/passwords/monitor)\" timeout 5 redis-cli --user monitor \
                    --no-auth-warning \"$@\" PING";

fn ping(tenant: &Tenant, options: &[&str]) -> String {
    let exec = ["exec", "redis-0", "-n", &tenant.namespace(), "-c", "redis", "--", "sh", "-c", PING, "sh"];
    kubectl(&[&exec[..], options].concat(), None).stdout
}

#[test]
fn a_tenant_is_served_by_tls_alone() {
    let redis = json!({"topology": "Replicated", "durability": "Replicated", "tls": {"enabled": true}});
    let tenant = Tenant::ready("secured", &json!({ "redis": redis }));
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    let token = &user.access_token;
    put(&gateway, token, "before", &json!(1));
    assert_eq!(ping(&tenant, &["--tls", "--cacert", "/etc/keystead/tls/ca.crt", "--insecure"]), "PONG\n");
    assert_eq!(ping(&tenant, &[]), "", "nobody is answered in plain text");

    kubectl_ok(&["delete", "pod", "redis-0", "-n", &tenant.namespace(), "--wait=false"]);
    put(&gateway, token, "after", &json!(2));
    tenant.wait_settled();
    for (key, wanted) in [("before", 1), ("after", 2)] {
        assert_eq!(value(&gateway, token, key), json!(wanted), "{key}");
    }
    gateway.job_done(token, "kv.export");
}
