//! A tenant whose Redis is reached by TLS, while certificates and who signs them change.
#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

mod client;

use client::{Client, code, eventually, start_with};
use keystead_route::Tls;
use keystead_tests::{authority::Authority, gateway::route, redis::Server};
use serde_json::json;

const WORD: &str = "word-of-the-gateway";

#[test]
fn another_authority_takes_over_and_no_request_fails() {
    let [before, after] = ["before", "after"].map(Authority::new);
    let redis =
        Server::with_tls(&[&format!("user gateway on >{WORD} {}", keystead_kv::acl::GATEWAY)], &before);
    let with = |ca: String| {
        let mut route = route("acme", &redis.address());
        route.redis.username = Some("gateway".into());
        route.redis.password = Some(WORD.into());
        route.redis.tls = Some(Tls { ca });
        route
    };
    let gateway = start_with(&[with(before.pem())]);
    let client = Client::registered(&gateway, "acme");
    let both = before.pem() + &after.pem();
    // Connections are made anew with each route; the file is read a moment after it was written.
    let steps: [&dyn Fn(); 3] =
        [&|| gateway.set_route(&with(both.clone())), &|| redis.change_certificate(&after), &|| {
            gateway.set_route(&with(after.pem()));
        }];
    let mut number = 0;
    for step in steps {
        step();
        let changed = std::time::Instant::now();
        while changed.elapsed() < std::time::Duration::from_secs(2) {
            number += 1;
            let answer = client.put("/api/v1/kv/k", &json!({ "value": number }));
            assert!(matches!(answer.status, 200 | 201), "{:?}", code(&answer));
        }
    }
    // One that trusts nobody who has signed is told that nothing was executed.
    gateway.set_route(&with(before.pem()));
    let refused = eventually(|| {
        let answer = client.put("/api/v1/kv/k", &json!({ "value": 0 }));
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(code(&refused), (503, "redis_unavailable".into()));
}
