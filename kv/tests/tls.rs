//! A Redis that is reached by TLS: who is trusted, and what is said of others.
#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use common::{PASSWORD, done, put};
use keystead_kv::{Condition, ConnectOptions, Connection, Error, Store, acl};
use keystead_route::{Durability, Endpoint, Tls};
use keystead_tests::{authority::Authority, redis::Server};

fn server(authority: &Authority) -> Server {
    Server::with_tls(&[&format!("user gateway on >{PASSWORD} {}", acl::GATEWAY)], authority)
}

fn options(address: String, ca: String) -> ConnectOptions {
    let endpoint = Endpoint::Standalone { address };
    let mut options = ConnectOptions::new(endpoint, Some("gateway".into()), Some(PASSWORD.into()));
    options.tls = Some(Tls { ca });
    options
}

fn store(options: ConnectOptions) -> Store {
    Store::new(Connection::open(options).unwrap())
}

/// What a write and a read end with. Nothing was executed, so both may be repeated.
async fn refusals(options: ConnectOptions) -> [String; 2] {
    let store = store(options);
    let write = store.put("a", &put("1"), &Condition::Any).await.map(done).unwrap_err();
    let read = store.get("a").await.map(|_| ()).unwrap_err();
    [write, read].map(|error| match error {
        Error::Unavailable(why) => why,
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn a_redis_is_reached_whose_authority_is_trusted() {
    let authority = Authority::new("ours");
    let server = server(&authority);
    for durability in [Durability::Async, Durability::Fsync] {
        let mut options = options(server.address(), authority.pem());
        options.durability = durability;
        let store = store(options);
        if durability == Durability::Async {
            common::write(&store, "a", "1").await;
        }
        assert_eq!(&store.get("a").await.unwrap().unwrap().value[..], b"1");
    }
}

#[tokio::test]
async fn one_of_another_authority_is_refused_and_the_error_says_so() {
    let server = server(&Authority::new("ours"));
    // Of the same name: the key decides.
    for other in ["ours", "theirs"] {
        let said = refusals(options(server.address(), Authority::new(other).pem())).await;
        assert_eq!(said, ["its certificate is not of an authority in tls.ca"; 2]);
    }
}

#[tokio::test]
async fn one_whose_certificate_names_another_address_is_refused() {
    let authority = Authority::new("ours");
    let server = server(&authority);
    let address = format!("localhost:{}", server.port());
    let said = refusals(options(address, authority.pem())).await;
    assert_eq!(said, ["its certificate does not name its address"; 2]);
}

/// It waits for the end of a line, which never comes.
#[tokio::test]
async fn a_redis_without_tls_is_given_nothing_and_does_not_answer() {
    let server = common::server();
    let said = refusals(options(server.address(), Authority::new("ours").pem())).await;
    assert_eq!(said, ["it accepts no connection"; 2]);
    assert_eq!(server.cli(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn what_answers_without_tls_is_refused_and_the_error_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"-NOAUTH Authentication required.\r\n");
            // Until the client has read it.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let said = refusals(options(address, Authority::new("ours").pem())).await;
    assert_eq!(said, ["it does not speak TLS as is needed"; 2]);
}

#[test]
fn what_is_no_certificate_is_refused_at_once() {
    for ca in ["", "a word", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = Connection::open(options("127.0.0.1:1".into(), ca.into())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the tenant's Redis refused a command: tls.ca holds no certificate that can be read"
        );
    }
}

#[tokio::test]
async fn a_connection_outlives_its_certificate_and_the_next_one_is_of_the_new_authority() {
    let [before, after] = ["before", "after"].map(Authority::new);
    let server = server(&before);
    let both = before.pem() + &after.pem();
    let open = store(options(server.address(), both.clone()));
    common::write(&open, "a", "1").await;
    server.change_certificate(&after);
    common::write(&open, "a", "2").await;
    let fresh = store(options(server.address(), both));
    assert_eq!(&fresh.get("a").await.unwrap().unwrap().value[..], b"2");
    assert_eq!(
        refusals(options(server.address(), before.pem())).await,
        ["its certificate is not of an authority in tls.ca"; 2]
    );
}

#[tokio::test]
async fn a_redis_that_came_back_is_reached_again() {
    let authority = Authority::new("ours");
    let mut server = server(&authority);
    let store = store(options(server.address(), authority.pem()));
    common::write(&store, "a", "1").await;
    server.kill();
    assert!(store.get("a").await.is_err());
    server.revive();
    let until = Instant::now() + Duration::from_secs(90);
    while let Err(error) = store.get("a").await {
        assert!(Instant::now() < until, "{error}");
    }
}
