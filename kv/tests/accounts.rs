//! Accounts and refresh tokens on a real Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::time::{Duration, Instant};

use keystead_kv::{
    ConnectOptions, Connection,
    accounts::{Account, Accounts, Created, Rotated, family_of_refresh, tenant_of_refresh},
    acl,
};
use keystead_route::{Endpoint, TenantName};
use keystead_tests::redis::Server;

const LIFE: Duration = Duration::from_mins(1);

fn server() -> Server {
    Server::with_users(&[&format!("user gateway on >word {}", acl::GATEWAY)])
}

fn accounts(server: &Server) -> (Accounts, TenantName) {
    let endpoint = Endpoint::Standalone { address: server.address() };
    let mut options = ConnectOptions::new(endpoint, Some("gateway".into()), Some("word".into()));
    // The machine may be busy with other tests.
    options.response_timeout = Duration::from_secs(5);
    let connection = Connection::open(options).unwrap();
    (Accounts::new(connection), "acme".parse().unwrap())
}

fn account(username: &str, email: &str) -> Account {
    Account {
        username: username.into(),
        email: email.into(),
        password_hash: "$argon2id$…".into(),
        scopes: vec!["kv:read".into()],
        is_active: true,
    }
}

#[tokio::test]
async fn a_name_and_an_address_are_taken_once_whatever_their_case() {
    let server = server();
    let (accounts, _) = accounts(&server);
    assert_eq!(accounts.create(&account("Ada", "ada@example.com")).await.unwrap(), Created::Done);
    assert_eq!(accounts.create(&account("aDA", "other@example.com")).await.unwrap(), Created::UsernameTaken);
    assert_eq!(accounts.create(&account("bob", "ADA@example.com")).await.unwrap(), Created::EmailTaken);
    assert_eq!(accounts.find("ADA").await.unwrap().unwrap().username, "Ada");
    assert!(accounts.find("bob").await.unwrap().is_none());
}

#[tokio::test]
async fn a_spent_refresh_token_ends_its_family_and_no_other() {
    let server = server();
    let (accounts, tenant) = accounts(&server);
    let other = accounts.issue_refresh(&tenant, "ada", LIFE).await.unwrap();
    let first = accounts.issue_refresh(&tenant, "ada", LIFE).await.unwrap();
    assert_eq!(tenant_of_refresh(first.expose()), Some(tenant.clone()));
    let Rotated::Done { username, successor } =
        accounts.rotate_refresh(&tenant, first.expose(), LIFE).await.unwrap()
    else {
        panic!("the first use works")
    };
    assert_eq!(username, "ada");
    assert!(matches!(accounts.rotate_refresh(&tenant, first.expose(), LIFE).await.unwrap(), Rotated::Reused));
    assert!(matches!(
        accounts.rotate_refresh(&tenant, successor.expose(), LIFE).await.unwrap(),
        Rotated::Unknown
    ));
    assert_eq!(family_of_refresh("rubbish"), None);
    let untouched = accounts.rotate_refresh(&tenant, other.expose(), LIFE).await.unwrap();
    assert!(matches!(untouched, Rotated::Done { .. }));
    for rubbish in ["", "ksr_", "ksr_acme.x.y", "ksr_acme.*.y"] {
        assert!(matches!(accounts.rotate_refresh(&tenant, rubbish, LIFE).await.unwrap(), Rotated::Unknown));
    }
    let kept = server.cli(&["--scan"]).lines().map(|key| server.cli(&["HGETALL", key])).collect::<String>();
    assert!(!kept.contains("ksr_"), "a token is kept in clear");
}

#[tokio::test]
async fn attempts_without_a_success_have_to_wait_ever_longer() {
    let server = server();
    let (accounts, _) = accounts(&server);
    for _ in 0..10 {
        assert_eq!(accounts.begin_login("Ada").await.unwrap(), None);
    }
    let first = accounts.begin_login("aDA").await.unwrap().expect("the eleventh has to wait");
    assert!(first <= Duration::from_secs(1), "{first:?}");
    assert_eq!(accounts.begin_login("bob").await.unwrap(), None, "others do not");
    let mut since = Instant::now();
    while accounts.begin_login("Ada").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        since = Instant::now();
    }
    let second = accounts.begin_login("Ada").await.unwrap().expect("and then twice as long");
    let (whole, least) = (second + since.elapsed(), Duration::from_millis(1990));
    assert!(second <= Duration::from_secs(2) && whole >= least, "{second:?} of {whole:?}");
    accounts.end_login("ADA").await.unwrap();
    assert_eq!(accounts.begin_login("Ada").await.unwrap(), None);

    // Many at once get no further than one after the other.
    let attempts: Vec<_> = (0..50)
        .map(|_| {
            let accounts = accounts.clone();
            tokio::spawn(async move { accounts.begin_login("eve").await.unwrap().is_none() })
        })
        .collect();
    let mut made = 0;
    for attempt in attempts {
        made += u32::from(attempt.await.unwrap());
    }
    assert_eq!(made, 10);
}

#[tokio::test]
async fn whoever_has_to_make_room_can_still_log_in() {
    let server = server();
    let (accounts, tenant) = accounts(&server);
    accounts.create(&account("ada", "ada@example.com")).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(accounts.begin_login("ada").await.unwrap(), None);
    accounts.end_login("ada").await.unwrap();
    let token = accounts.issue_refresh(&tenant, "ada", LIFE).await.unwrap();
    let rotated = accounts.rotate_refresh(&tenant, token.expose(), LIFE).await.unwrap();
    assert!(matches!(rotated, Rotated::Done { .. }), "{rotated:?}");
    assert!(accounts.create(&account("eve", "eve@example.com")).await.is_err(), "new accounts are refused");
}
