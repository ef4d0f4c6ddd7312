//! Accounts and refresh tokens on a real Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::time::Duration;

use keystead_kv::{
    ConnectOptions, Connection,
    accounts::{Account, Accounts, Created, Rotated, tenant_of_refresh},
};
use keystead_route::{Endpoint, TenantName};
use keystead_tests::redis::Server;

const LIFE: Duration = Duration::from_mins(1);

fn accounts(server: &Server) -> (Accounts, TenantName) {
    let endpoint = Endpoint::Standalone { address: server.address() };
    let connection = Connection::open(ConnectOptions::new(endpoint, None, None)).unwrap();
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
    let server = Server::start();
    let (accounts, _) = accounts(&server);
    assert_eq!(accounts.create(&account("Ada", "ada@example.com")).await.unwrap(), Created::Done);
    assert_eq!(accounts.create(&account("aDA", "other@example.com")).await.unwrap(), Created::UsernameTaken);
    assert_eq!(accounts.create(&account("bob", "ADA@example.com")).await.unwrap(), Created::EmailTaken);
    assert_eq!(accounts.find("ADA").await.unwrap().unwrap().username, "Ada");
    assert!(accounts.find("bob").await.unwrap().is_none());
}

#[tokio::test]
async fn a_spent_refresh_token_ends_its_family_and_no_other() {
    let server = Server::start();
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
    accounts.revoke_refresh("rubbish").await.unwrap();
    let untouched = accounts.rotate_refresh(&tenant, other.expose(), LIFE).await.unwrap();
    assert!(matches!(untouched, Rotated::Done { .. }));
    for rubbish in ["", "ksr_", "ksr_acme.x.y", "ksr_acme.*.y"] {
        assert!(matches!(accounts.rotate_refresh(&tenant, rubbish, LIFE).await.unwrap(), Rotated::Unknown));
    }
    let kept = server.cli(&["--scan"]).lines().map(|key| server.cli(&["HGETALL", key])).collect::<String>();
    assert!(!kept.contains("ksr_"), "a token is kept in clear");
}
