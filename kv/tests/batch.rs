//! Many operations in one round trip, on a real Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use common::{put, server, store, write};
use keystead_kv::{Done, Error, Filter, Operation, Select};

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

#[tokio::test]
async fn many_puts_of_any_size_come_with_their_own_results_in_order() {
    let server = server();
    let store = store(&server).with_max_keys(130);
    // More than one call of the script does, by number and by size, with reads in between.
    let size = |n: usize| if n.is_multiple_of(7) { 40_000 } else { n };
    let mut operations = Vec::new();
    for n in 0..130 {
        let mut put = put(&"v".repeat(size(n)));
        put.tags = [("n".to_owned(), (n % 3).to_string())].into();
        operations.push(Operation::Put { key: format!("k{n:03}"), put });
        if n % 60 == 0 {
            operations.push(Operation::Get { key: format!("k{n:03}") });
        }
    }
    operations.push(Operation::Put { key: "one-too-many".into(), put: put("1") });
    operations.push(Operation::Put { key: "k000".into(), put: put("again") });
    let results = store.batch(&operations).await.unwrap();
    assert_eq!(results.len(), operations.len());
    for (operation, result) in operations.iter().zip(&results) {
        match (operation, result) {
            (Operation::Put { key, .. }, Err(Error::TooManyKeys)) => assert_eq!(key, "one-too-many"),
            (Operation::Put { key, .. }, Ok(Done::Put(written))) => {
                let is_again = key == "k000" && written.version == 2;
                assert!(is_again || (written.created_new && written.version == 1), "{key}: {written:?}");
            }
            (Operation::Get { key }, Ok(Done::Got(Some(entry)))) => {
                let n: usize = key[1..].parse().unwrap();
                assert_eq!(entry.value.len(), size(n), "{key}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.count().await.unwrap(), 130);
    let tags = [("n".to_owned(), "1".to_owned())];
    let tagged = store.list(Filter { prefix: "", tags: &tags }, Select::Offset(0), 10).await.unwrap();
    assert_eq!(tagged.total, 43);
}
