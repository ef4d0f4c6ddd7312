//! Jobs through the gateway; no worker runs, so that each state can be seen.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Client, code, start};
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
    redis[0].cli(&["SET", &format!("jobs:{{j}}:job:{id}:result"), "x"]);
    for path in [format!("{path}:result"), format!("/api/v1/jobs/{id}%3Aresult"), "/api/v1/jobs/..".into()] {
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
            "there is no kind \"kv.exprot\": the kinds are ttl.sweep, kv.export, kv.reencrypt",
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
