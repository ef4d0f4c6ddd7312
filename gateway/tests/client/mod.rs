//! A client of the gateway under test, and what the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use keystead_route::{ADMIN_KEY_ID, ApiKeyText, Route};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};
use ureq::{Agent, http};

/// A gateway with a Redis for these tenants, all on one server: what keeps them apart here is the gateway.
pub fn start(tenants: &[&str]) -> (Vec<Server>, Gateway) {
    let servers: Vec<Server> = tenants.iter().map(|_| Server::start()).collect();
    let routes: Vec<Route> =
        tenants.iter().zip(&servers).map(|(tenant, server)| route(tenant, &server.address())).collect();
    let gateway = start_with(&routes);
    (servers, gateway)
}

pub fn start_with(routes: &[Route]) -> Gateway {
    Gateway::start(Path::new(env!("CARGO_BIN_EXE_keystead-gateway")), routes)
}

/// Starts a gateway that must not start; gives what it says.
pub fn refused_start(arguments: &[&str]) -> String {
    let places = ["--listen", "--metrics-listen", "--admin-listen"];
    let output = Command::new(env!("CARGO_BIN_EXE_keystead-gateway"))
        .args(places.into_iter().flat_map(|place| [place, "127.0.0.1:0"]))
        .args(arguments)
        .env("KEYSTEAD_LOG_FORMAT", "text")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?}: {said}");
    said
}

/// Gives a route its owner's API key, and gives the key.
pub fn owned(route: &mut Route) -> String {
    let (text, hash) = ApiKeyText::make(&route.tenant, ADMIN_KEY_ID, [7; 32]);
    route.auth.admin_key_sha256 = Some(hash);
    text.into()
}

/// Two gateways with one tenant, and a user with a client of each.
pub fn two_gateways(route: &Route) -> ([Gateway; 2], [Client; 2]) {
    let gateways = [(); 2].map(|()| start_with(std::slice::from_ref(route)));
    let one = Client::registered(&gateways[0], route.tenant.as_str());
    let other = Client::with_token(&gateways[1], one.token());
    (gateways, [one, other])
}

/// How often Redis has carried a command out.
pub fn calls(redis: &Server, command: &str) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    line.and_then(|line| line.split(['=', ',']).nth(1)).map_or(0, |calls| calls.parse().unwrap())
}

/// Asks every 20 ms until there is an answer; panics after 90 s.
pub fn eventually<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "it does not come");
        thread::sleep(Duration::from_millis(20));
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The body without the request's id.
    pub fn without_id(&self) -> Value {
        let mut json = self.json();
        json["instance"] = json!("<id>");
        json
    }
}

/// Status and code of a problem, whose form is checked.
pub fn code(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let json = answer.json();
    assert_eq!(json["status"], json!(answer.status));
    assert_eq!(json["instance"], json!(answer.header("x-request-id")));
    for field in ["type", "title", "detail"] {
        assert!(json[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {json}");
    }
    (answer.status, json["code"].as_str().unwrap().to_owned())
}

#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    /// Header and value.
    credential: Option<(&'static str, String)>,
    agent: Agent,
}

impl Client {
    pub fn anonymous(gateway: &Gateway) -> Self {
        Self::at(gateway.base())
    }

    fn at(base: String) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(100)))
            // A server may close a connection after an answer that needed no body: a reused one could be just that.
            .max_idle_connections(0)
            .build()
            .new_agent();
        Self { base, credential: None, agent }
    }

    /// Without a credential, at another port.
    pub fn anonymous_at(port: u16) -> Self {
        Self::at(format!("http://127.0.0.1:{port}"))
    }

    pub fn with_token(gateway: &Gateway, token: &str) -> Self {
        let credential = Some(("Authorization", format!("Bearer {token}")));
        Self { credential, ..Self::anonymous(gateway) }
    }

    pub fn with_api_key(gateway: &Gateway, key: &str) -> Self {
        Self { credential: Some(("X-API-Key", key.to_owned())), ..Self::anonymous(gateway) }
    }

    /// Registers a user `ada` of the tenant.
    pub fn registered(gateway: &Gateway, tenant: &str) -> Self {
        let body = json!({"tenant": tenant, "username": "ada", "email": "ada@example.com", "password": "Correct-horse-7"});
        let answer = Self::anonymous(gateway).post("/api/v1/auth/register", &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        Self::with_token(gateway, answer.json()["access_token"].as_str().unwrap())
    }

    /// The gateway's `/metrics`.
    pub fn metrics(&self, gateway: &Gateway) -> String {
        let base = format!("http://127.0.0.1:{}", gateway.metrics_port());
        Self { base, ..self.clone() }.get("/metrics").text()
    }

    /// The access token or the API key.
    pub fn credential(&self) -> &str {
        let text = &self.credential.as_ref().unwrap().1;
        text.strip_prefix("Bearer ").unwrap_or(text)
    }

    pub fn token(&self) -> &str {
        self.credential.as_ref().unwrap().1.strip_prefix("Bearer ").unwrap()
    }

    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some((name, value)) = &self.credential {
            request = request.header(*name, value);
        }
        let answer = if matches!(method, "GET" | "DELETE" | "HEAD") && body.is_empty() {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body).unwrap())
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let body = answer.body_mut().with_config().limit(10 << 20).read_to_vec().unwrap();
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.raw("DELETE", path, &[], b"")
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.raw("PUT", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.raw("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }
}
