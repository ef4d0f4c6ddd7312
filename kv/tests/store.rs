//! The store on a real Redis, as the ACL user that the gateway is.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use common::{done, put, server, store, write};
use keystead_kv::{Condition, NotIncremented, Outcome, Put, Ttl};

#[tokio::test]
async fn a_value_comes_back_as_it_went_in_with_its_metadata() {
    let server = server();
    let store = store(&server);
    let tags: BTreeMap<String, String> =
        [("colour".into(), "red".into()), ("größe".into(), String::new())].into();
    let value = Bytes::from_static(b"\x00\xff\r\n{\"n\":12345678901234567890.10}");
    let content_type = "application/octet-stream".to_owned();
    let put = Put { value: value.clone(), content_type, tags: tags.clone(), ttl: Ttl::Seconds(60) };
    let written = done(store.put("a/b {c} ü", &put, &Condition::Any).await.unwrap());
    assert!(written.created_new && written.version == 1 && written.created == written.updated, "{written:?}");
    let entry = store.get("a/b {c} ü").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.metadata.tags), (value, tags));
    assert_eq!(entry.metadata.expires, written.expires);
    let left = store.ttl("a/b {c} ü").await.unwrap().unwrap().unwrap();
    assert!((59_000..=60_000).contains(&left), "{left} ms");
    assert_eq!(store.get("a/b").await.unwrap(), None);

    let again = write(&store, "a/b {c} ü", "2").await;
    assert!(!again.created_new && again.version == 2 && again.created == written.created, "{again:?}");
    assert!(again.updated > written.updated);
    assert_eq!(store.ttl("a/b {c} ü").await.unwrap(), Some(None));
}

#[tokio::test]
async fn a_write_happens_only_where_its_condition_holds() {
    let server = server();
    let store = store(&server);
    let absent = store.put("k", &put("1"), &Condition::Present).await.unwrap();
    assert_eq!(absent, Outcome::Refused { exists: false });
    let first = write(&store, "k", "1").await;
    let taken = store.put("k", &put("2"), &Condition::Absent).await.unwrap();
    assert_eq!(taken, Outcome::Refused { exists: true });
    let first_tag = store.get("k").await.unwrap().unwrap().metadata.entity_tag();
    let second = done(store.put("k", &put("2"), &Condition::Matches(vec![first_tag])).await.unwrap());
    assert_eq!(second.version, first.version + 1);
    let stale = store.put("k", &put("3"), &Condition::Matches(vec![first_tag])).await.unwrap();
    assert_eq!(stale, Outcome::Refused { exists: true });
    assert_eq!(
        store.delete("k", &Condition::Matches(vec![first_tag])).await.unwrap(),
        Outcome::Refused { exists: true }
    );
    assert_eq!(store.delete("k", &Condition::Any).await.unwrap(), Outcome::Done(()));
    assert_eq!(store.delete("k", &Condition::Any).await.unwrap(), Outcome::Refused { exists: false });

    // Made anew it has version 1 again, but not the old tag.
    write(&store, "k", "1").await;
    let reborn = store.get("k").await.unwrap().unwrap().metadata;
    assert_eq!(reborn.version, 1);
    assert_ne!(reborn.entity_tag(), first_tag);
    let old = store.put("k", &put("4"), &Condition::Matches(vec![first_tag])).await.unwrap();
    assert_eq!(old, Outcome::Refused { exists: true });
}

#[tokio::test]
async fn concurrent_writers_that_compare_lose_no_update() {
    let server = server();
    let store = store(&server);
    write(&store, "counter", "0").await;
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    loop {
                        let entry = store.get("counter").await.unwrap().unwrap();
                        let number: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                        let condition = Condition::Matches(vec![entry.metadata.entity_tag()]);
                        let outcome =
                            store.put("counter", &put(&(number + 1).to_string()), &condition).await.unwrap();
                        if matches!(outcome, Outcome::Done(_)) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let entry = store.get("counter").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.metadata.version), (&b"400"[..], 401));
}

#[tokio::test]
async fn a_number_is_added_to_exactly_and_by_many_at_once() {
    let server = server();
    let store = store(&server);
    let first = store.increment("n", 5, Ttl::Seconds(100)).await.unwrap().unwrap();
    assert_eq!((first.value, first.written.version, first.written.created_new), (5, 1, true));
    let left = store.ttl("n").await.unwrap().unwrap().unwrap();
    assert!((99_000..=100_000).contains(&left), "a new number has the time to live that was given: {left}");

    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    store.increment("n", 2, Ttl::Forever).await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let entry = store.get("n").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.metadata.version), (&b"1005"[..], 501));
    assert!(entry.metadata.expires.is_some(), "and keeps it");

    let down = store.increment("n", -2000, Ttl::Forever).await.unwrap().unwrap();
    assert_eq!(down.value, -995);
    for (value, why) in [
        ("\"text\"", NotIncremented::NotANumber),
        ("1.5", NotIncremented::NotANumber),
        ("1e3", NotIncremented::NotANumber),
        ("9007199254740991", NotIncremented::TooLarge),
        ("123456789012345678901234567890", NotIncremented::TooLarge),
    ] {
        write(&store, "other", value).await;
        assert_eq!(store.increment("other", 1, Ttl::Forever).await.unwrap(), Err(why), "{value}");
        assert_eq!(&store.get("other").await.unwrap().unwrap().value[..], value.as_bytes());
    }
    // Also where the sum would be within the bound again: the number itself cannot be read exactly.
    for (value, by) in [("9007199254740993", -3), ("9007199254740992", -1), ("-9007199254740992", 2)] {
        write(&store, "other", value).await;
        let added = store.increment("other", by, Ttl::Forever).await.unwrap();
        assert_eq!(added, Err(NotIncremented::TooLarge), "{value} {by}");
    }
    write(&store, "edge", "9007199254740990").await;
    assert_eq!(store.increment("edge", 1, Ttl::Forever).await.unwrap().unwrap().value, 9_007_199_254_740_991);
}

#[tokio::test]
async fn a_time_to_live_is_changed_without_a_new_version() {
    let server = server();
    let store = store(&server);
    let written = write(&store, "k", "1").await;
    assert!(store.set_ttl("k", Ttl::Seconds(60)).await.unwrap());
    let entry = store.get("k").await.unwrap().unwrap();
    assert_eq!((entry.metadata.version, entry.metadata.updated), (written.version, written.updated));
    assert!(entry.metadata.expires.is_some());
    assert!(store.set_ttl("k", Ttl::Forever).await.unwrap());
    assert_eq!(store.ttl("k").await.unwrap(), Some(None));
    assert_eq!(store.get("k").await.unwrap().unwrap().metadata.expires, None);
    assert!(!store.set_ttl("absent", Ttl::Seconds(1)).await.unwrap());
    assert!(!store.exists("absent").await.unwrap());

    // What is kept is kept to the millisecond, and what expires leaves no trace.
    store.set_ttl("k", Ttl::Seconds(1)).await.unwrap();
    let expires = store.get("k").await.unwrap().unwrap().metadata.expires;
    let kept = Put { ttl: Ttl::Keep, ..put("2") };
    assert_eq!(done(store.put("k", &kept, &Condition::Any).await.unwrap()).expires, expires);
    while store.exists("k").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.count().await.unwrap(), 0);
    assert_eq!(done(store.put("k", &kept, &Condition::Any).await.unwrap()).expires, None);
}
