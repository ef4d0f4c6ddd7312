//! Schedules through the gateway; no worker runs here, which would queue their jobs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Client, code, start};
use serde_json::json;

#[test]
fn a_schedule_is_written_seen_replaced_and_ended() {
    let (redis, gateway) = start(&["acme", "other"]);
    let (client, other) = (Client::registered(&gateway, "acme"), Client::registered(&gateway, "other"));
    let path = "/api/v1/jobs/schedules/nightly";
    let body = json!({"cron": "0 3 * * *", "kind": "kv.export", "payload": {"prefix": "a"}});
    let made = client.put(path, &body);
    assert_eq!(made.status, 201, "{}", made.text());
    let schedule = client.get(&format!("/t/acme{path}")).json();
    assert_eq!(schedule, made.json());
    assert_eq!(
        (&schedule["name"], &schedule["cron"], &schedule["kind"], &schedule["payload"]),
        (&json!("nightly"), &json!("0 3 * * *"), &json!("kv.export"), &json!({"prefix": "a"}))
    );
    assert!(schedule["next_run_at"].as_str().unwrap().ends_with("T03:00:00.000Z"), "{schedule}");
    assert_eq!((&schedule["last_run_at"], &schedule["last_job_id"]), (&json!(null), &json!(null)));
    assert_eq!(code(&other.get(path)), (404, "schedule_not_found".into()));

    // Due since yesterday: to write it again with the same times does not skip that run, with others it does.
    redis[0].cli(&["ZADD", "jobs:{j}:schedules", "1000", "nightly"]);
    assert_eq!(client.put(path, &json!({"cron": "0 3 * * *", "kind": "ttl.sweep"})).status, 200);
    let replaced = client.get(path).json();
    assert_eq!(replaced["next_run_at"], json!("1970-01-01T00:00:01.000Z"));
    assert_eq!((&replaced["kind"], &replaced["payload"]), (&json!("ttl.sweep"), &json!(null)));
    assert_eq!(replaced["created_at"], schedule["created_at"]);
    let moved = client.put(path, &json!({"cron": "30 4 * * 1-5", "kind": "ttl.sweep"})).json();
    assert!(moved["next_run_at"].as_str().unwrap().ends_with("T04:30:00.000Z"), "{moved}");

    client.put("/api/v1/jobs/schedules/often", &json!({"cron": "* * * * *", "kind": "ttl.sweep"}));
    let list = client.get("/api/v1/jobs/schedules").json();
    assert_eq!(list["total"], json!(2));
    assert_eq!((&list["items"][0]["name"], &list["items"][1]["name"]), (&json!("often"), &json!("nightly")));

    assert_eq!(client.delete(path).status, 204);
    assert_eq!(code(&client.delete(path)), (404, "schedule_not_found".into()));
    assert_eq!(code(&client.get(path)), (404, "schedule_not_found".into()));
    assert_eq!(redis[0].cli(&["EXISTS", "jobs:{j}:schedule:nightly"]), "0");
}

#[test]
fn what_can_never_run_is_refused_with_what_to_write() {
    let (redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let fields = "write five fields, minute (0-59) hour (0-23) day (1-31) month (1-12) weekday (0-7), each *, a number, a \
                  range, a list or a step, such as \"0 3 * * *\"";
    for (name, body, detail) in [
        (
            "a",
            json!({"cron": "@daily", "kind": "ttl.sweep"}),
            format!("cron: \"@daily\" is no schedule: {fields}"),
        ),
        (
            "a",
            json!({"cron": "60 * * * *", "kind": "ttl.sweep"}),
            format!("cron: \"60 * * * *\" is no schedule: {fields}"),
        ),
        (
            "a",
            json!({"cron": "0 0 30 2 *", "kind": "ttl.sweep"}),
            "cron: there is no time at which \"0 0 30 2 *\" is due".into(),
        ),
        (
            "a%3Ab",
            json!({"cron": "* * * * *", "kind": "ttl.sweep"}),
            "a schedule's name has 1 to 63 letters, digits, '.', '_' and '-'".into(),
        ),
    ] {
        let answer = client.put(&format!("/api/v1/jobs/schedules/{name}"), &body);
        assert_eq!(code(&answer), (422, "invalid".into()), "{body}");
        assert_eq!(answer.json()["detail"], json!(detail));
    }
    let unknown = client.put("/api/v1/jobs/schedules/a", &json!({"cron": "* * * * *", "kind": "kv.exprot"}));
    assert_eq!(code(&unknown), (422, "invalid".into()));
    assert!(
        unknown.json()["detail"]
            .as_str()
            .unwrap()
            .starts_with("there is no kind \"kv.exprot\": the kinds are ")
    );
    let wrong = json!({"cron": "* * * * *", "kind": "kv.export", "payload": {"suffix": "a"}});
    let wrong = client.put("/api/v1/jobs/schedules/a", &wrong);
    assert!(wrong.json()["detail"].as_str().unwrap().contains("unknown field `suffix`"), "{}", wrong.text());
    assert_eq!(redis[0].cli(&["KEYS", "jobs:*"]), "");
}

#[test]
fn a_tenant_has_a_bounded_number_of_schedules() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let body = json!({"cron": "* * * * *", "kind": "ttl.sweep"});
    for number in 0..100 {
        assert_eq!(client.put(&format!("/api/v1/jobs/schedules/s{number}"), &body).status, 201);
    }
    let more = client.put("/api/v1/jobs/schedules/more", &body);
    assert_eq!(code(&more), (409, "too_many_schedules".into()));
    assert_eq!(
        client.put("/api/v1/jobs/schedules/s7", &body).status,
        200,
        "one that is there can be written"
    );
    assert_eq!(client.get("/api/v1/jobs/schedules").json()["items"].as_array().unwrap().len(), 100);
}
