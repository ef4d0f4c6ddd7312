//! Lists and counts, on a real Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use common::{done, info, put, server, store, write};
use keystead_kv::{Condition, Filter, Put, Select, Ttl};

#[tokio::test]
async fn lists_are_in_byte_order_and_the_same_wherever_they_begin() {
    let server = server();
    let store = store(&server);
    let mut keys: Vec<String> = (0..450).map(|n| format!("p:{n}")).collect();
    keys.extend(["a".to_owned(), "q".to_owned(), "p".to_owned(), "p;".to_owned(), "pü".to_owned()]);
    for key in &keys {
        write(&store, key, "1").await;
    }
    keys.sort();
    let all = store.list(Filter::with_prefix(""), Select::Offset(0), 1000).await.unwrap();
    assert_eq!(all.items.iter().map(|(key, _)| key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert_eq!((all.total, all.next_after), (455, None));

    let page = store.list(Filter::with_prefix("p:"), Select::Offset(440), 300).await.unwrap();
    assert_eq!((page.items.len(), page.total, page.next_after), (10, 450, None));
    let mut walked = Vec::new();
    let mut after = String::new();
    loop {
        let part = store.list(Filter::with_prefix("p"), Select::After(&after), 7).await.unwrap();
        walked.extend(part.items.into_iter().map(|(key, _)| key));
        match part.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    let with_prefix: Vec<String> = keys.into_iter().filter(|key| key.starts_with('p')).collect();
    assert_eq!(walked, with_prefix);
    let beyond = store.list(Filter::with_prefix(""), Select::Offset(9999), 10).await.unwrap();
    assert_eq!((beyond.items.len(), beyond.total), (0, 455));
}

#[tokio::test]
async fn expired_keys_are_not_counted_or_listed_and_leave_no_trace_behind() {
    let server = server();
    let store = store(&server);
    let tags: BTreeMap<String, String> = [("t".into(), "v".into())].into();
    for n in 0..700 {
        let put = Put { ttl: Ttl::Seconds(1), tags: tags.clone(), ..put("1") };
        done(store.put(&format!("short-{n}"), &put, &Condition::Any).await.unwrap());
    }
    done(store.put("long", &Put { tags, ..put("1") }, &Condition::Any).await.unwrap());
    let started = Instant::now();
    while store.exists("short-699").await.unwrap() {
        assert!(started.elapsed() < Duration::from_secs(90), "it does not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Before any sweep.
    assert_eq!(store.count().await.unwrap(), 1);
    let listing = store.list(Filter::with_prefix(""), Select::Offset(0), 10).await.unwrap();
    assert_eq!((listing.total, listing.items.len()), (1, 1));
    assert_eq!(store.sweep(10_000).await.unwrap(), 0, "the list has swept already");
    let reborn = write(&store, "short-1", "1").await;
    assert!(reborn.created_new && reborn.version == 1, "{reborn:?}");
    store.delete("short-1", &Condition::Any).await.unwrap();
    store.delete("long", &Condition::Any).await.unwrap();
    // Redis itself frees expired entries a little later.
    let started = Instant::now();
    loop {
        let info = info(&server, "Keyspace").await;
        if !info.contains("db0") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "keys are left behind: {info}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_list_by_tags_has_those_with_all_of_them() {
    let server = server();
    let store = store(&server);
    let tags = |colour: usize, size: usize| -> BTreeMap<String, String> {
        [("colour".to_owned(), colour.to_string()), ("size".to_owned(), size.to_string())].into()
    };
    for at in 0..1300 {
        let put = Put { tags: tags(at % 2, at % 3), ..put("1") };
        store.put(&format!("k{at:04}"), &put, &Condition::Any).await.unwrap();
    }
    store.put("other", &Put { tags: tags(0, 0), ..put("1") }, &Condition::Any).await.unwrap();
    let wanted: Vec<(String, String)> = tags(0, 0).into_iter().collect();
    let filter = Filter { prefix: "k", tags: &wanted };
    let expected: Vec<String> = (0..1300).filter(|at| at % 6 == 0).map(|at| format!("k{at:04}")).collect();

    let all = store.list(filter, Select::Offset(0), 1000).await.unwrap();
    assert_eq!(all.items.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), expected);
    assert_eq!((all.total, all.next_after), (expected.len() as u64, None));
    for offset in [1, 100, 210, 216, 217, 5000] {
        let page = store.list(filter, Select::Offset(offset), 7).await.unwrap();
        let keys: Vec<_> = page.items.into_iter().map(|(key, _)| key).collect();
        let skipped: Vec<_> =
            expected.iter().skip(usize::try_from(offset).unwrap()).take(7).cloned().collect();
        assert_eq!((keys, page.total), (skipped, 217), "{offset}");
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let part = store.list(filter, Select::After(&after), 10).await.unwrap();
        assert_eq!(part.total, 217);
        seen.extend(part.items.into_iter().map(|(key, _)| key));
        match part.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, expected);

    let red = [("colour".to_owned(), "1".to_owned())];
    let odd = store.list(Filter { prefix: "", tags: &red }, Select::Offset(640), 20).await.unwrap();
    assert_eq!((odd.total, odd.items.len(), odd.next_after), (650, 10, None));
    let nobody = [("colour".to_owned(), "1".to_owned()), ("none".to_owned(), String::new())];
    let none = store.list(Filter { prefix: "", tags: &nobody }, Select::Offset(0), 20).await.unwrap();
    assert_eq!((none.total, none.items.len()), (0, 0));
}
