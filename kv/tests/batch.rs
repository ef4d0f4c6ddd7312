//! Many operations in one round trip, on a real Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use common::{put, server, store, write};
use keystead_kv::{Done, Error, Operation};

#[tokio::test]
async fn a_batch_is_done_in_order_on_a_redis_that_knows_no_script() {
    let server = server();
    let store = store(&server);
    let write = |key: &str, value: &str| Operation::Put { key: key.into(), put: put(value) };
    let read = |key: &str| Operation::Get { key: key.into() };
    let remove = |key: &str| Operation::Delete { key: key.into() };
    for _ in 0..2 {
        let results = store
            .batch(&[
                read("a"),
                write("a", "1"),
                read("a"),
                write("a", "2"),
                remove("a"),
                read("a"),
                remove("a"),
            ])
            .await
            .unwrap();
        let seen: Vec<String> = results
            .into_iter()
            .map(|result| match result.unwrap() {
                Done::Got(entry) => entry.map_or("-".into(), |it| String::from_utf8_lossy(&it.value).into()),
                Done::Put(written) => format!("v{}", written.version),
                Done::Deleted(was_there) => was_there.to_string(),
                Done::TooLarge { .. } => unreachable!("one byte"),
            })
            .collect();
        assert_eq!(seen, ["-", "v1", "1", "v2", "true", "-", "false"]);
        server.cli(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(store.batch(&[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn one_of_a_batch_that_fails_does_not_take_the_others_with_it() {
    let server = server();
    let store = store(&server);
    write(&store, "small", "1").await;
    server.cli(&["SET", "kv:{0}:e:rubbish", "no entry"]);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let results = store
        .batch(&[
            Operation::Get { key: "rubbish".into() },
            Operation::Put { key: "a".into(), put: put("1") },
            Operation::Get { key: "small".into() },
            Operation::Delete { key: "small".into() },
        ])
        .await
        .unwrap();
    assert!(matches!(results[0], Err(Error::Corrupt(_))), "{:?}", results[0]);
    assert!(matches!(results[1], Err(Error::Full)), "{:?}", results[1]);
    assert!(matches!(results[2], Ok(Done::Got(Some(_)))), "{:?}", results[2]);
    assert!(matches!(results[3], Ok(Done::Deleted(true))), "{:?}", results[3]);
}

#[tokio::test]
async fn reads_share_a_bounded_room_and_what_does_not_fit_is_told() {
    let server = server();
    let store = store(&server);
    let (large, small) = ("l".repeat(100_000), "s".repeat(20_000));
    write(&store, "large", &large).await;
    write(&store, "small", &small).await;
    let read = |key: &str| Operation::Get { key: key.into() };
    let few = store.batch(&[read("large"), read("small")]).await.unwrap();
    assert!(matches!(&few[0], Ok(Done::Got(Some(entry))) if entry.value == large));
    // So many that each has room for 32 KiB.
    let mut many = vec![read("small"); 999];
    many.push(read("large"));
    let results = store.batch(&many).await.unwrap();
    assert!(results[..999].iter().all(|it| matches!(it, Ok(Done::Got(Some(entry))) if entry.value == small)));
    assert!(matches!(results[999], Ok(Done::TooLarge { room }) if room < 100_000), "{:?}", results[999]);
}
