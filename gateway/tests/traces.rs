//! Traces as a collector gets them: from the request through Redis to the job, and nothing of a key or a value.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod client;

use std::path::Path;

use client::{Client, refused_start};
use keystead_route::hex;
use keystead_tests::{
    collector::{Collector, attribute},
    gateway::{Gateway, route},
    redis::Server,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn started(redis: &Server, arguments: &[&str]) -> (Collector, Gateway, Client) {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let arguments = [&["--otlp-endpoint", &endpoint], arguments].concat();
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let gateway = Gateway::start_with(binary, &[route("acme", &redis.address())], &arguments);
    let ada = Client::registered(&gateway, "acme");
    (collector, gateway, ada)
}

/// Ends the gateway, which sends what it has; gives the spans of a trace.
fn ended(mut gateway: Gateway, collector: &Collector, trace: &str) -> Vec<Span> {
    gateway.terminate();
    assert!(gateway.wait());
    collector.spans().into_iter().filter(|span| hex(&span.trace_id) == trace).collect()
}

#[test]
fn a_trace_goes_on_from_its_caller_through_redis_into_the_job() {
    let redis = Server::start();
    let (collector, gateway, ada) =
        started(&redis, &["--trace-share", "0", "--trusted-proxies", "127.0.0.0/8"]);
    let before = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("Content-Type", "application/json"), ("traceparent", before.as_str())];
    let put = ada.raw("PUT", "/t/acme/api/v1/kv/a-secret-key", &headers, br#"{"value": "a-secret-value"}"#);
    assert_eq!(put.status, 201, "{}", put.text());
    let keyed = [&headers[..], &[("Idempotency-Key", "k")]].concat();
    let job = ada.raw("POST", "/api/v1/jobs", &keyed, br#"{"kind": "kv.export"}"#).json();
    let id = job["id"].as_str().unwrap_or_else(|| panic!("{job}"));
    let told = redis.cli(&["HGET", &format!("jobs:{{j}}:job:{id}"), "trace"]);

    let spans = ended(gateway, &collector, TRACE);
    let named = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| {
            panic!("{name}: {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>())
        })
    };
    let request = named("PUT /t/{tenant}/api/v1/kv/{key}");
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(attribute(request, "keystead.tenant"), "acme");
    assert_eq!(attribute(request, "http.response.status_code"), "201");
    assert_eq!(attribute(request, "keystead.request_id"), put.header("x-request-id"));
    let write = named("EVALSHA WRITE");
    assert_eq!(write.parent_span_id, request.span_id);
    assert_eq!(attribute(write, "server.address"), redis.address());
    let enqueued = named("EVALSHA JOB_ENQUEUE");
    assert_eq!(enqueued.parent_span_id, named("POST /api/v1/jobs").span_id, "also behind an Idempotency-Key");
    assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&enqueued.parent_span_id)));
    let all = format!("{spans:?}");
    assert!(!all.contains("a-secret-key") && !all.contains("a-secret-value"), "{all}");
}

#[test]
fn nobody_unknown_can_have_requests_traced_and_a_share_of_all_is() {
    let redis = Server::start();
    let (collector, gateway, ada) = started(&redis, &["--trace-share", "0.001"]);
    // An id of which a share of that size is always sampled.
    let chosen = "00000000000000010000000000000000";
    for traceparent in
        [&format!("00-{TRACE}-{PARENT}-01"), &format!("00-{chosen}-{PARENT}-00"), "", "00-0-0-01", "x"]
    {
        for _ in 0..20 {
            assert_eq!(ada.raw("GET", "/api/v1/kv/a", &[("traceparent", traceparent)], b"").status, 404);
        }
    }
    assert!(ended(gateway, &collector, TRACE).is_empty());
    let spans = collector.spans();
    assert!(spans.len() < 20, "one of a thousand requests, and not {}", spans.len());
    assert!(spans.iter().all(|span| hex(&span.trace_id) != chosen));

    let redis = Server::start();
    let (collector, gateway, ada) = started(&redis, &["--trace-share", "1"]);
    assert_eq!(ada.get("/api/v1/kv/a").status, 404);
    redis.pause();
    assert_eq!(ada.put("/api/v1/kv/a", &json!({"value": 1})).status, 503);
    redis.resume();
    ended(gateway, &collector, "");
    let failed: Vec<Span> = collector.spans();
    let failed = failed.iter().filter(|span| span.status.as_ref().is_some_and(|status| status.code == 2));
    let names: Vec<&str> = failed.map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["EVALSHA WRITE", "PUT /api/v1/kv/{key}"]);
}

#[test]
fn a_collector_that_is_away_holds_up_nobody() {
    let redis = Server::start();
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let arguments = ["--otlp-endpoint", "http://127.0.0.1:1", "--trace-share", "1"];
    let mut gateway = Gateway::start_with(binary, &[route("acme", &redis.address())], &arguments);
    let ada = Client::registered(&gateway, "acme");
    // More than the spans that are kept for it.
    for _ in 0..3000 {
        assert_eq!(ada.get("/api/v1/kv/a").status, 404);
    }
    gateway.terminate();
    assert!(gateway.wait());
}

#[test]
fn an_address_that_is_none_stops_the_start() {
    for (flag, wrong, says) in [
        ("--otlp-endpoint", "collector:4318", "write an address such as http://collector:4318"),
        ("--trace-share", "1.5", "a number from 0 to 1"),
    ] {
        let collector = ["--otlp-endpoint", "http://127.0.0.1:1"];
        let given = if flag == collector[0] { &[][..] } else { &collector };
        let said = refused_start(&[&["--routes", ".", flag, wrong], given].concat());
        assert!(said.contains(says), "{said}");
    }
}
