//! What clients of a tenant on a Redis Cluster see, through a real gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Client, code, owned, start_with};
use keystead_kv::acl;
use keystead_route::Cache;
use keystead_tests::{cluster::Cluster, gateway::route};
use serde_json::{Value, json};

#[test]
fn the_api_is_the_same_but_for_the_change_feed() {
    let cluster =
        Cluster::start(3, 0, 1, &[&format!("user gateway on >word {} {}", acl::GATEWAY, acl::CLUSTER)]);
    let mut acme = route("acme", "");
    acme.redis.endpoint = cluster.endpoint();
    acme.redis.username = Some("gateway".into());
    acme.redis.password = Some("word".into());
    acme.cache = Some(Cache { max_bytes: 1 << 20 });
    let admin = owned(&mut acme);
    let gateway = start_with(&[acme]);
    let client = Client::registered(&gateway, "acme");
    let admin = Client::with_api_key(&gateway, &admin);

    let items: Vec<Value> = (0..300)
        .map(|number| json!({"key": format!("k{number:03}"), "value": number, "ttl": null, "tags": {"odd": (number % 2).to_string()}}))
        .collect();
    let batch = client.post("/api/v1/kv/batch", &json!({"items": items}));
    assert_eq!(batch.status, 200);
    assert!(batch.json()["items"].as_array().unwrap().iter().all(|item| item["status"] == 201), "{batch:?}");
    assert_eq!(client.get("/api/v1/kv/k007").json()["value"], 7);
    for consistency in ["primary", "replica"] {
        assert_eq!(client.get(&format!("/api/v1/kv/k299?consistency={consistency}")).json()["value"], 299);
    }
    assert_eq!(client.put("/api/v1/kv/k007", &json!({"value": 70})).status, 200);
    assert_eq!(client.get("/api/v1/kv/k007").json()["value"], 70);
    assert_eq!(client.raw("POST", "/api/v1/kv/count/incr", &[], b"").json()["value"], 1);
    assert_eq!(client.delete("/api/v1/kv/count").status, 200);
    assert_eq!(code(&client.get("/api/v1/kv/count")), (404, "key_not_found".into()));
    assert_eq!(client.get("/api/v1/kv/stats/count").json()["count"], 300);

    let page = client.get("/api/v1/kv?prefix=k1&page=2&page_size=40").json();
    assert_eq!((&page["total"], &page["items"][0]["key"]), (&json!(100), &json!("k140")));
    let page = client.get("/api/v1/kv?tag_filter=odd:1&limit=100").json();
    assert_eq!(
        (&page["total"], &page["items"][99]["key"]),
        (&json!(149), &json!("k201")),
        "k007 has lost its tag"
    );
    let (mut cursor, mut walked) = (String::new(), 0);
    loop {
        let part = client.get(&format!("/api/v1/kv?values=true&limit=70{cursor}")).json();
        walked += part["items"].as_array().unwrap().len();
        let Some(next) = part["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(walked, 300);

    let key = [("Idempotency-Key", "one"), ("Content-Type", "application/json")];
    for replayed in ["", "true"] {
        let again = client.raw("POST", "/api/v1/kv/once/incr", &key, b"{}");
        assert_eq!(
            (&again.json()["value"], again.header("idempotency-replayed").as_str()),
            (&json!(1), replayed)
        );
    }
    let login = json!({"username": "nobody", "password": "wrong-password"});
    assert_eq!(code(&Client::anonymous(&gateway).post("/t/acme/api/v1/auth/login", &login)).0, 401);
    let made = admin.post("/api/v1/auth/api-keys", &json!({"name": "reader", "scopes": ["kv:read"]}));
    assert_eq!(made.status, 201, "{made:?}");
    let reader = Client::with_api_key(&gateway, made.json()["api_key"].as_str().unwrap());
    assert_eq!(reader.get("/api/v1/kv/k000").status, 200);
    let job = client.post("/api/v1/jobs", &json!({"kind": "kv.export"}));
    assert_eq!(job.status, 202);
    assert_eq!(client.get("/api/v1/jobs").json()["total"], 1);

    assert_eq!(client.get("/t/acme/health").status, 200);
    let diag = admin.get("/api/v1/diag").json();
    let shards = diag["redis"]["shards"].as_array().unwrap();
    assert_eq!((shards.len(), &diag["keys"]), (3, &json!(301)), "{diag}");
    for shard in shards {
        assert_eq!((&shard["role"], &shard["connected_replicas"]), (&json!("master"), &json!(1)), "{diag}");
        assert!(shard["primary"].as_str().unwrap().ends_with(":6379"), "{diag}");
    }
    assert_eq!(code(&client.get("/api/v1/watch")), (501, "not_with_cluster".into()));
}
