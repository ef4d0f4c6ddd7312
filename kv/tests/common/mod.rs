//! A real Redis with the users that it has in a cluster, and a store on it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod cluster;
pub mod replicated;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use keystead_kv::{Condition, ConnectOptions, Connection, JSON, Outcome, Put, Store, Ttl, Written, acl};
use keystead_route::Endpoint;
use keystead_tests::redis::Server;

pub const PASSWORD: &str = "word-of-the-gateway";

pub fn server() -> Server {
    Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
        &format!("user monitor on >{PASSWORD} {}", acl::MONITOR),
    ])
}

pub fn connect(server: &Server, user: Option<&str>) -> Connection {
    connect_to(server.address(), user)
}

/// By another address than its own.
pub fn connect_to(address: String, user: Option<&str>) -> Connection {
    let password = user.map(|_| PASSWORD.into());
    let endpoint = Endpoint::Standalone { address };
    let mut options = ConnectOptions::new(endpoint, user.map(str::to_owned), password);
    // The machine may be busy with other tests.
    options.response_timeout = Duration::from_secs(5);
    Connection::open(options).unwrap()
}

pub fn store(server: &Server) -> Store {
    Store::new(connect(server, Some("gateway")))
}

pub fn put(value: &str) -> Put {
    Put {
        value: Bytes::copy_from_slice(value.as_bytes()),
        content_type: JSON.into(),
        tags: BTreeMap::new(),
        ttl: Ttl::Forever,
    }
}

pub fn done<T>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Done(done) => done,
        Outcome::Refused { exists } => panic!("refused; exists: {exists}"),
    }
}

pub async fn write(store: &Store, key: &str, value: &str) -> Written {
    done(store.put(key, &put(value), &Condition::Any).await.unwrap())
}

/// Asks until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(40), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// INFO as the monitor user, who may do that and nothing else.
pub async fn info(server: &Server, section: &str) -> String {
    let client = redis::Client::open(format!("redis://monitor:{PASSWORD}@{}", server.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let refused: Result<Vec<String>, _> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await;
    assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
    redis::cmd("INFO").arg(section).query_async(&mut connection).await.unwrap()
}
