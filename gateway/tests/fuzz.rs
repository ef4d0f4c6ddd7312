//! Junk of every kind: headers, paths, bodies, tokens.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Client, code, owned, start_with};
use keystead_tests::{gateway::route, redis::Server};
use proptest::{
    collection,
    prelude::*,
    test_runner::{Config, TestRunner},
};

#[test]
fn nothing_from_the_network_makes_a_500() {
    let redis = Server::start();
    let mut route = route("acme", &redis.address());
    let admin = owned(&mut route);
    let gateway = start_with(&[route]);
    let (admin, nobody) = (Client::with_api_key(&gateway, &admin), Client::anonymous(&gateway));
    let path = prop_oneof![
        "/api/v1/kv/[!-~&&[^#?]]{0,40}",
        "/api/v1/kv\\?(page|page_size|cursor|limit|prefix|tag_filter|values)=[!-~&&[^#]]{0,20}",
        "/api/v1/kv/(batch|k/incr|k/ttl|k)",
        "/api/v1/auth/(register|login|refresh|logout|me|api-keys|api-keys/[!-~&&[^#?]]{0,20}(/rotate)?)",
        "/api/v1/jobs(/[!-~&&[^#?]]{0,40}(/retry|/result)?)?",
        "/api/v1/(diag|peers|watch\\?[a-o][!-~&&[^#]]{0,20})",
        "/t/[!-~&&[^#?]]{0,20}/api/v1/kv/(%[0-9A-F]{2}){1,8}",
        "/[!-~&&[^#?]]{0,40}",
    ];
    let method =
        prop_oneof![Just("GET"), Just("PUT"), Just("POST"), Just("DELETE"), Just("PATCH"), Just("BREW")];
    let content_type = prop_oneof![
        Just("application/json".to_owned()),
        Just("application/merge-patch+json".to_owned()),
        "[ -~]{1,30}"
    ];
    let condition = "[ -~]{0,30}";
    let body = prop_oneof![
        collection::vec(any::<u8>(), 0..200),
        "\\{\"items\":\\[\\{\"(key|op|value)\":[\\[\\]{}\"0-9a-z:,.-]{0,20}\\}\\]\\}"
            .prop_map(String::into_bytes),
        "\\{\"(key|value|ttl|tags|by|name|scopes|kind|username)\":[\\[\\]{}\"0-9a-z:,.-]{0,30}\\}"
            .prop_map(String::into_bytes),
        Just(br#"{"key":"k","value":1}"#.to_vec()),
    ];
    let credential = prop_oneof![
        3 => Just(None),
        1 => ("X-API-Key|Authorization", "(Bearer )?(ks_acme_[a-z0-9]{0,20}_[0-9a-f]{60,66}|[!-~]{1,60})").prop_map(Some),
    ];
    let mut runner = TestRunner::new(Config { cases: 2000, ..Config::default() });
    runner
        .run(
            &(method, path, content_type, condition, body, credential),
            |(method, path, content_type, condition, body, credential)| {
                // A path that no client library would send is not this test's business.
                if path.parse::<ureq::http::Uri>().is_err() {
                    return Ok(());
                }
                let condition = condition.trim();
                let mut headers = vec![("Content-Type", content_type.trim())];
                headers
                    .extend(["If-Match", "Idempotency-Key", "Last-Event-ID"].map(|name| (name, condition)));
                let client = match &credential {
                    None => &admin,
                    Some((name, value)) => {
                        headers.push((name, value));
                        &nobody
                    }
                };
                let answer = client.raw(method, &path, &headers, &body);
                prop_assert!(answer.status < 500, "{} {} -> {:?}", method, path, answer);
                if answer.status >= 400 {
                    code(&answer);
                }
                Ok(())
            },
        )
        .unwrap();
}
