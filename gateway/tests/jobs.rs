//! Jobs through the gateway; no worker runs, so that each state can be seen.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Client, code, start, start_with};
use keystead_tests::{gateway::route, redis::Server};
use serde_json::json;

#[test]
fn a_job_is_queued_seen_cancelled_and_run_again() {
    let (redis, gateway) = start(&["acme", "other"]);
    let (client, other) = (Client::registered(&gateway, "acme"), Client::registered(&gateway, "other"));
    let queued =
        client.post("/api/v1/jobs", &json!({"kind": "kv.export", "payload": {"prefix": "a"}, "priority": 9}));
    assert_eq!((queued.status, &queued.json()["status"]), (202, &json!("pending")));
    let id = queued.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(queued.header("location"), format!("/t/acme/api/v1/jobs/{id}"));
    let path = format!("/t/acme/api/v1/jobs/{id}");
    let job = client.get(&path).json();
    assert_eq!(
        (&job["kind"], &job["payload"], &job["priority"]),
        (&json!("kv.export"), &json!({"prefix": "a"}), &json!(9))
    );
    assert_eq!(
        (&job["attempts"], &job["max_attempts"], &job["result"]),
        (&json!(0), &json!(5), &json!(null))
    );
    assert_eq!(code(&other.get(&format!("/api/v1/jobs/{id}"))), (404, "job_not_found".into()));
    assert_eq!(code(&other.delete(&path)), (403, "wrong_tenant".into()));

    let later = client.post("/api/v1/jobs", &json!({"kind": "ttl.sweep", "delay": 3600}));
    assert_eq!(later.json()["status"], json!("scheduled"));
    let at = client.post("/api/v1/jobs", &json!({"kind": "ttl.sweep", "run_at": "2099-01-31T12:00:00Z"}));
    let at = client.get(&format!("/api/v1/jobs/{}", at.json()["id"].as_str().unwrap())).json();
    assert_eq!((&at["status"], &at["run_at"]), (&json!("scheduled"), &json!("2099-01-31T12:00:00.000Z")));
    let list = client.get("/api/v1/jobs?page_size=2").json();
    assert_eq!((&list["total"], list["items"].as_array().unwrap().len()), (&json!(3), 2));
    assert_eq!(list["items"][0]["id"], at["id"], "the newest first");

    assert_eq!(code(&client.raw("POST", &format!("{path}/retry"), &[], b"")), (409, "job_state".into()));
    assert_eq!(client.delete(&path).status, 204);
    assert_eq!(client.get(&path).json()["status"], json!("cancelled"));
    assert_eq!(code(&client.delete(&path)), (409, "job_state".into()));
    assert_eq!(client.raw("POST", &format!("{path}/retry"), &[], b"").status, 202);
    assert_eq!(client.get(&path).json()["status"], json!("pending"));
    assert_eq!(code(&client.get("/api/v1/jobs/nothing")), (404, "job_not_found".into()));
    assert_eq!(code(&client.get(&format!("{path}/result"))), (404, "job_not_found".into()));
    // What is no id never becomes a part of a name in Redis.
    redis[0].cli(&["SET", &format!("jobs:{{j}}:job:{id}:x"), "x"]);
    for path in [format!("{path}:x"), format!("/api/v1/jobs/{id}%3Ax"), "/api/v1/jobs/..".into()] {
        assert_eq!(client.get(&path).status, 404, "{path}");
        assert_eq!(client.delete(&path).status, 404, "{path}");
    }
}

#[test]
fn what_no_worker_can_do_is_refused_at_once() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    for (body, detail) in [
        (
            json!({"kind": "kv.exprot"}),
            "there is no kind \"kv.exprot\": the kinds are ttl.sweep, kv.export, kv.import, kv.delete, kv.reencrypt, audit.flush, usage.snapshot, webhook",
        ),
        (
            json!({"kind": "kv.export", "delay": 1, "run_at": "2099-01-31T12:00:00Z"}),
            "`run_at` and `delay` exclude each other",
        ),
        (json!({"kind": "kv.export", "delay": 99_999_999}), "delay: at most 31622400 s (a year)"),
        (json!({"kind": "kv.export", "run_at": "soon"}), "run_at: a time such as 2030-01-31T12:00:00Z"),
        (json!({"kind": "kv.export", "priority": 10}), "priority: 0 to 9, higher first"),
        (json!({"kind": "kv.export", "max_attempts": 0}), "max_attempts: 1 to 25"),
    ] {
        let answer = client.post("/api/v1/jobs", &body);
        assert_eq!(code(&answer), (422, "invalid".into()), "{body}");
        assert_eq!(answer.json()["detail"], json!(detail));
    }
    let answer = client.post("/api/v1/jobs", &json!({"kind": "kv.export", "payload": {"suffix": "a"}}));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.starts_with("the payload of kv.export is not as expected: unknown field `suffix`"),
        "{detail}"
    );
}

#[test]
fn a_full_queue_takes_no_further_job_until_there_is_room() {
    let (redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let body = json!({"kind": "ttl.sweep"});
    let queued = client.post("/api/v1/jobs", &body).json();
    let path = format!("/api/v1/jobs/{}", queued["id"].as_str().unwrap());
    assert_eq!(client.delete(&path).status, 204);
    // As many as may wait, written by Redis itself.
    let fill = "for i = 1, 100000 do redis.call('ZADD', KEYS[1], 1e15, ARGV[1] .. ':' .. i) end";
    for batch in 0..20 {
        redis[0].cli(&["EVAL", fill, "1", "jobs:{j}:scheduled", &batch.to_string()]);
    }
    for refused in
        [client.post("/api/v1/jobs", &body), client.raw("POST", &format!("{path}/retry"), &[], b"")]
    {
        assert_eq!(code(&refused), (429, "queue_full".into()));
        assert_eq!(refused.header("retry-after"), "5");
    }
    let again = [("Content-Type", "application/json"), ("Idempotency-Key", "one")];
    let text = body.to_string();
    assert_eq!(client.raw("POST", "/api/v1/jobs", &again, text.as_bytes()).status, 429);
    redis[0].cli(&["ZREM", "jobs:{j}:scheduled", "0:1"]);
    assert_eq!(
        client.raw("POST", "/api/v1/jobs", &again, text.as_bytes()).status,
        202,
        "the same key, as nothing was done"
    );
    assert_eq!(client.get("/api/v1/jobs").json()["total"], json!(2));
}

#[test]
fn a_webhook_is_taken_only_for_whom_the_tenant_names() {
    let redis = Server::start();
    let mut named = route("acme", &redis.address());
    let targets = json!([{"host": "*.example.com", "ports": [443]}, {"host": "till", "ports": [80], "allowHttp": true, "addresses": ["10.0.0.0/8"]}]);
    named.webhooks = serde_json::from_value(targets).unwrap();
    let others = Server::start();
    let gateway = start_with(&[named, route("other", &others.address())]);
    let client = Client::registered(&gateway, "acme");
    let queue = |client: &Client, payload: serde_json::Value| {
        client.post("/api/v1/jobs", &json!({"kind": "webhook", "payload": payload}))
    };
    for taken in ["https://hooks.example.com/orders?a=b", "http://till/"] {
        let answer = queue(&client, json!({"url": taken, "body": {"order": 7}}));
        assert_eq!(answer.status, 202, "{taken}: {}", answer.text());
    }
    let refused = |client: &Client, payload: serde_json::Value, says: &str| {
        let answer = queue(client, payload);
        assert_eq!(code(&answer), (422, "invalid".into()));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says), "{detail}");
    };
    let not_named = "https://example.org is no target of this tenant: name its host, port and scheme in the Tenant's spec.worker.webhooks";
    refused(&client, json!({"url": "https://example.org/a"}), not_named);
    refused(&client, json!({"url": "http://hooks.example.com/"}), "http://hooks.example.com is no target");
    refused(&client, json!({"url": "hooks.example.com"}), "url: an https or http URL");
    refused(
        &client,
        json!({"url": "https://hooks.example.com/", "headers": {"Host": "b"}}),
        "host is not yours",
    );
    let other = Client::registered(&gateway, "other");
    refused(&other, json!({"url": "https://hooks.example.com/"}), "this tenant sends no webhooks");
    // A schedule is a job too.
    let schedule =
        json!({"cron": "0 3 * * *", "kind": "webhook", "payload": {"url": "https://example.org/a"}});
    let answer = client.put("/api/v1/jobs/schedules/nightly", &schedule);
    assert_eq!(answer.json()["detail"], json!(not_named));
}
