//! A Redis that is dead, slow or full, and users that may not do everything.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use common::{PASSWORD, connect, connect_to, done, put, server, store, until, write};
use keystead_kv::{Condition, Error, Outcome, Put, Store, Ttl};
use keystead_tests::redis::Server;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

#[tokio::test]
async fn a_killed_redis_fails_at_once_and_comes_back_with_all_that_was_acknowledged() {
    let mut server = Server::durable();
    let store = Store::new(connect(&server, None));
    for n in 0..100 {
        write(&store, &format!("key-{n}"), "1").await;
    }
    server.kill();
    for _ in 0..3 {
        let error = store.get("key-1").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    let error = store.put("key-1", &put("2"), &Condition::Any).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "nothing was sent: {error:?}");
    server.revive();
    // The very first command works, and the script is unknown to the new process.
    let written = write(&store, "key-1", "2").await;
    assert_eq!(written.version, 2);
    assert_eq!(store.count().await.unwrap(), 100);
}

#[tokio::test]
async fn a_paused_redis_is_told_from_a_dead_one_and_a_write_from_a_read() {
    let server = server();
    let store = store(&server);
    write(&store, "k", "1").await;
    server.pause();
    let read = store.get("k").await.unwrap_err();
    assert!(matches!(read, Error::DeadlineExceeded), "{read:?}");
    let written = store.put("k", &put("2"), &Condition::Any).await.unwrap_err();
    assert!(matches!(written, Error::OutcomeUnknown), "{written:?}");
    server.resume();
    let started = Instant::now();
    while let Err(error) = store.get("k").await {
        assert!(started.elapsed() < Duration::from_secs(90), "{error:?}");
    }
}

/// As a Service's address before its Redis is ready: packets are dropped, and a connection is found only by another attempt.
#[tokio::test]
async fn what_waits_for_a_connection_that_is_never_made_was_not_sent_and_takes_the_next_one() {
    let server = server();
    let door = Door::before(&server).await;
    let store = Store::new(connect_to(door.address.clone(), Some("gateway")));
    // Who has begun when nobody was there is told so.
    let refused = store.put("k", &put("0"), &Condition::Any).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    let reads = store.clone();
    let early = tokio::spawn(async move { reads.get("k").await });
    until("the next attempt", async || door.refused.load(Ordering::SeqCst) == 2).await;
    door.is_open.store(true, Ordering::SeqCst);
    // Redis is there by now, but the attempt that others wait for does not know.
    let written = write(&store, "k", "1").await;
    assert_eq!(written.version, 1);
    let early = early.await.unwrap();
    assert!(matches!(early, Err(Error::Unavailable(_))), "{early:?}");
}

/// A way to a Redis that takes connections and answers nothing until it is open.
struct Door {
    address: String,
    is_open: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
}

impl Door {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Self {
            address: listener.local_addr().unwrap().to_string(),
            is_open: Arc::default(),
            refused: Arc::default(),
        };
        let (target, is_open, refused) = (server.address(), door.is_open.clone(), door.refused.clone());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                if is_open.load(Ordering::SeqCst) {
                    let mut redis = TcpStream::connect(&target).await.unwrap();
                    tokio::spawn(async move { copy_bidirectional(&mut client, &mut redis).await });
                } else {
                    held.push(client);
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        door
    }
}

#[tokio::test]
async fn a_full_redis_says_so_and_still_reads_and_deletes() {
    let server = Server::with(&["--save", "", "--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let store = Store::new(connect(&server, None));
    let big = "x".repeat(200_000);
    let mut written = 0;
    let error = loop {
        match store.put(&format!("k{written}"), &put(&big), &Condition::Any).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "maxmemory does not hold");
    };
    assert!(matches!(error, Error::Full), "{error:?}");
    assert_eq!(store.get("k0").await.unwrap().unwrap().value.len(), big.len());
    assert_eq!(store.delete("k0", &Condition::Any).await.unwrap(), Outcome::Done(()));
}

/// What frees memory inside a write must not open the door for what takes it.
#[tokio::test]
async fn a_full_redis_takes_no_write_that_also_cleans_up() {
    let server = Server::with(&["--save", "", "--maxmemory", "6mb", "--maxmemory-policy", "noeviction"]);
    let store = Store::new(connect(&server, None));
    let tags: BTreeMap<String, String> = [("t".into(), "v".into())].into();
    for n in 0..30 {
        let tagged = Put { tags: tags.clone(), ..put("1") };
        done(store.put(&format!("tagged-{n}"), &tagged, &Condition::Any).await.unwrap());
    }
    for n in 0..100 {
        let short = Put { ttl: Ttl::Seconds(1), ..put("1") };
        done(store.put(&format!("short-{n}"), &short, &Condition::Any).await.unwrap());
    }
    let started = Instant::now();
    while store.exists("short-99").await.unwrap() {
        assert!(started.elapsed() < Duration::from_secs(90), "it does not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let big = put(&"x".repeat(1_000_000));
    let mut accepted = 0;
    for n in 0..30 {
        for key in [format!("tagged-{n}"), format!("new-{n}")] {
            match store.put(&key, &big, &Condition::Any).await {
                Ok(_) => accepted += 1,
                Err(error) => assert!(matches!(error, Error::Full), "{error:?}"),
            }
        }
    }
    assert!(accepted <= 6, "{accepted} MB were written into 6 MB");
    assert_eq!(store.delete("tagged-29", &Condition::Any).await.unwrap(), Outcome::Done(()));
}

#[tokio::test]
async fn the_worker_cannot_touch_accounts() {
    let server = server();
    let client = redis::Client::open(format!("redis://worker:{PASSWORD}@{}", server.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for command in ["GET", "DEL", "HGETALL"] {
        let refused: Result<redis::Value, _> =
            redis::cmd(command).arg("auth:{a}:user:ada").query_async(&mut connection).await;
        assert_eq!(refused.unwrap_err().code(), Some("NOPERM"), "{command}");
    }
    let sneaky = "return redis.call('GET', 'auth:{a}:user:ada')";
    let sha: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(sneaky).query_async(&mut connection).await.unwrap();
    let refused: Result<redis::Value, _> =
        redis::cmd("EVALSHA").arg(sha).arg(0).query_async(&mut connection).await;
    assert!(refused.is_err(), "a script reached an account");
    assert!(Store::new(connect(&server, Some("worker"))).count().await.is_ok());
}
