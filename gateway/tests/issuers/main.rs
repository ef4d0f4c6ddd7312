//! Tokens of other issuers, with a real one: a process that serves discovery and keys over TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

#[path = "../client/mod.rs"]
mod client;
mod keys;
mod process;
mod tokens;

use std::path::Path;

use client::{Answer, Client, code};
use keystead_route::{Issuer as Trusted, Route};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use process::Authority;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_keystead-gateway");

#[test]
#[ignore = "no test: the process of an issuer, which the others start"]
fn the_process_of_an_issuer() {
    process::process();
}

fn trusting(tenant: &str, redis: &Server, issuers: &[(&str, &str)]) -> Route {
    let mut route = route(tenant, &redis.address());
    let trusted = |(issuer, audience): &(&str, &str)| Trusted {
        issuer: (*issuer).into(),
        audiences: vec!["someone-else".into(), (*audience).into()],
        scopes_claim: "scope".into(),
    };
    route.auth.issuers = issuers.iter().map(trusted).collect();
    route
}

fn start(routes: &[Route], authority: &Authority, arguments: &[&str]) -> Gateway {
    let ca = authority.file();
    let arguments: Vec<&str> = ["--issuer-ca", &ca].into_iter().chain(arguments.iter().copied()).collect();
    Gateway::start_logging(Path::new(BINARY), routes, &arguments)
}

/// A read of a key that is not there: 404 where the token is taken.
fn read(gateway: &Gateway, tenant: &str, token: &str) -> Answer {
    Client::with_token(gateway, token).get(&format!("/t/{tenant}/api/v1/kv/nothing"))
}

fn is_taken(gateway: &Gateway, tenant: &str, token: &str) -> bool {
    let answer = read(gateway, tenant, token);
    match (code(&answer).1.as_str(), answer.status) {
        ("key_not_found", 404) => true,
        ("invalid_token", 401) => false,
        _ => panic!("{}", answer.text()),
    }
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}
