//! Values encrypted at rest, on a real Redis whose bytes are looked at.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use common::{connect, server};
use keystead_kv::{
    Condition, Corrupt, Entry, Error, Filter, InvalidKey, JSON, Keyring, Outcome, Put, Select, Store, Ttl,
    idempotency::{Answer, Known, Requests},
};
use keystead_route::{DataKey, Encryption};
use keystead_tests::redis::Server;

const GATEWAY: Option<&str> = Some("gateway");
const SECRET: &str = "the-word-that-nobody-may-see";

/// The keys with these numbers; the last one writes.
fn keyring(keys: &[u8]) -> Keyring {
    let name = |key: &u8| format!("encryption-key-{key}");
    let named = |key: &u8| DataKey { name: name(key), secret: BASE64_STANDARD.encode([*key; 32]).into() };
    let encryption = Encryption { keys: keys.iter().map(named).collect(), active_key: keys.last().map(name) };
    Keyring::new(&encryption).unwrap()
}

/// The keys open, and nothing is encrypted any more.
fn retired(keys: &[u8]) -> Keyring {
    let named =
        |key: &u8| DataKey { name: key.to_string(), secret: BASE64_STANDARD.encode([*key; 32]).into() };
    Keyring::new(&Encryption { keys: keys.iter().map(named).collect(), active_key: None }).unwrap()
}

fn store(server: &Server, keys: &[u8]) -> Store {
    Store::new(connect(server, GATEWAY)).with_keyring((!keys.is_empty()).then(|| keyring(keys)))
}

fn put(value: &str) -> Put {
    let tags = BTreeMap::from([("colour".to_owned(), "red".to_owned())]);
    Put {
        value: Bytes::copy_from_slice(value.as_bytes()),
        content_type: JSON.into(),
        tags,
        ttl: Ttl::Seconds(600),
    }
}

async fn write(store: &Store, key: &str, value: &str) {
    let outcome = store.put(key, &put(value), &Condition::Any).await.unwrap();
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

/// The keys of Redis under which a text can be read.
fn readable(server: &Server, text: &str) -> String {
    let script = "local found = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
        local values = redis.call('TYPE', key).ok == 'string' and {redis.call('GET', key)} or {} \
        for _, value in ipairs(values) do if value:find(ARGV[1], 1, true) then found[#found + 1] = key end end \
        end return found";
    server.cli(&["EVAL", script, "0", text])
}

#[tokio::test]
async fn redis_holds_nothing_that_can_be_read_and_readers_see_what_was_written() {
    let server = server();
    let store = store(&server, &[1]);
    write(&store, "a", SECRET).await;
    write(&store, "b", &SECRET.repeat(1000)).await;
    write(&store, "empty", "").await;
    let requests = Requests::new(connect(&server, GATEWAY), Some(keyring(&[1])));
    let attempt = requests.attempt("id".into(), SECRET.into()).unwrap();
    assert!(matches!(requests.begin(&attempt).await.unwrap(), Known::New));
    let answer = Answer { status: 200, headers: Vec::new(), body: SECRET.into() };
    assert!(requests.forget(&attempt).await.unwrap());
    assert!(!requests.forget(&attempt).await.unwrap(), "there is nothing any more");
    assert!(matches!(requests.begin(&attempt).await.unwrap(), Known::New));
    let another = requests.attempt("id".into(), SECRET.into()).unwrap();
    assert!(!requests.forget(&another).await.unwrap(), "it is not its own");
    requests.end(&attempt, answer.clone()).await.unwrap();
    assert!(!requests.forget(&attempt).await.unwrap(), "it was carried out");

    assert_eq!(readable(&server, SECRET), "");
    assert_ne!(readable(&server, "red"), "", "this looks into the bytes of entries");
    assert!(matches!(requests.begin(&attempt).await.unwrap(), Known::Answered(same) if same == answer));
    let entry = store.get("a").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.metadata.tags["colour"].as_str()), (SECRET.as_bytes(), "red"));
    assert_eq!(store.get("b").await.unwrap().unwrap().value, SECRET.repeat(1000));
    assert!(store.get("empty").await.unwrap().unwrap().value.is_empty());
    let red = [("colour".to_owned(), "red".to_owned())];
    for tags in [&[][..], &red] {
        let filter = Filter { prefix: "", tags };
        let listing = store.list_values(filter, Select::After(""), 10, u64::MAX).await.unwrap();
        let values: Vec<&[u8]> = listing.items.iter().map(|(_, entry)| &entry.value[..]).collect();
        assert_eq!(values, [SECRET.as_bytes(), SECRET.repeat(1000).as_bytes(), b""]);
    }
}

#[tokio::test]
async fn two_equal_values_do_not_look_alike() {
    let server = server();
    let store = store(&server, &[1]);
    write(&store, "a", SECRET).await;
    server.cli(&["COPY", "kv:{0}:e:a", "copy"]);
    write(&store, "a", SECRET).await;
    // Behind a head of 53 bytes and the key's id.
    let ends = ["copy", "kv:{0}:e:a"].map(|name| server.cli(&["GETRANGE", name, "61", "-1"]));
    assert_ne!(ends[0], ends[1]);
}

#[tokio::test]
async fn a_value_opens_only_in_its_place_with_its_key_and_unchanged() {
    let server = server();
    let one = store(&server, &[1]);
    write(&one, "a", SECRET).await;
    let failure = |result: Result<Option<Entry>, Error>| match result {
        Err(Error::Corrupt(corrupt)) => corrupt,
        other => panic!("{other:?}"),
    };
    server.cli(&["COPY", "kv:{0}:e:a", "kv:{0}:e:b"]);
    assert_eq!(failure(one.get("b").await), Corrupt::NotAuthentic);
    // A letter of its tag.
    let end = server.cli(&["STRLEN", "kv:{0}:e:a"]).trim().parse::<usize>().unwrap() - 1;
    for at in [43, 70, end - 20, end] {
        server.cli(&["COPY", "kv:{0}:e:a", "kv:{0}:e:kept", "REPLACE"]);
        let byte = server.cli(&["GETRANGE", "kv:{0}:e:a", &at.to_string(), &at.to_string()]);
        server.cli(&[
            "SETRANGE",
            "kv:{0}:e:a",
            &at.to_string(),
            if byte.starts_with('x') { "y" } else { "x" },
        ]);
        assert_eq!(failure(one.get("a").await), Corrupt::NotAuthentic, "byte {at}");
        server.cli(&["COPY", "kv:{0}:e:kept", "kv:{0}:e:a", "REPLACE"]);
    }
    assert_eq!(failure(store(&server, &[]).get("a").await), Corrupt::UnknownKey);
    assert_eq!(failure(store(&server, &[2]).get("a").await), Corrupt::UnknownKey);
    assert_eq!(one.get("a").await.unwrap().unwrap().value, SECRET);
    let number = store(&server, &[]).increment("a", 1, Ttl::Forever).await;
    assert!(matches!(number, Err(Error::Corrupt(Corrupt::UnknownKey))), "{number:?}");
}

#[tokio::test]
async fn values_are_written_anew_with_another_key_and_only_their_form_changes() {
    let server = server();
    let (plain, old) = (store(&server, &[]), store(&server, &[1]));
    for key in 0..300 {
        let store = if key % 2 == 0 { &plain } else { &old };
        write(store, &format!("key-{key:03}"), &format!("{SECRET}-{key}")).await;
    }
    let new = store(&server, &[1, 2]);
    let before = new.scan(Filter::default(), "", 1000, u64::MAX).await.unwrap().items;
    assert!(!new.is_resealed().await.unwrap());
    let first = new.reseal("", 100).await.unwrap();
    assert_eq!((first.seen, first.changed, first.next_after.as_deref()), (100, 100, Some("key-099")));
    let rest = new.reseal("key-099", 1000).await.unwrap();
    assert_eq!((rest.seen, rest.changed, rest.next_after), (200, 200, None));
    assert_eq!(new.reseal("", 1000).await.unwrap().changed, 0);
    new.set_resealed().await.unwrap();
    assert!(new.is_resealed().await.unwrap() && !old.is_resealed().await.unwrap());

    let only_new = store(&server, &[2]);
    let after = only_new.scan(Filter::default(), "", 1000, u64::MAX).await.unwrap().items;
    assert_eq!(before, after, "values, versions, times and tags are as they were");
    assert_eq!(readable(&server, SECRET), "");
    assert!(server.cli(&["PTTL", "kv:{0}:e:key-000"]).trim().parse::<i64>().unwrap() > 500_000);

    let off = Store::new(connect(&server, GATEWAY)).with_keyring(Some(retired(&[1, 2])));
    server.cli(&["DEL", "kv:{0}:s"]);
    assert!(!off.is_resealed().await.unwrap(), "what nobody has noted is not known");
    assert_eq!(off.reseal("", 1000).await.unwrap().changed, 300);
    off.set_resealed().await.unwrap();
    assert!(plain.is_resealed().await.unwrap());
    assert_eq!(plain.scan(Filter::default(), "", 1000, u64::MAX).await.unwrap().items, before);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_holds_up_nothing() {
    let server = server();
    let (old, new) = (store(&server, &[1]), store(&server, &[1, 2]));
    for key in ["a", "b", "c", "d"] {
        write(&old, key, SECRET).await;
    }
    server.cli(&["COPY", "kv:{0}:e:a", "kv:{0}:e:b", "REPLACE"]);
    server.cli(&["SET", "kv:{0}:e:c", "no entry at all"]);
    let part = new.reseal("", 100).await.unwrap();
    assert_eq!((part.seen, part.changed, part.unread), (4, 2, 2));
    let (key, why) = part.unreadable.unwrap();
    assert!(
        [("b", Corrupt::NotAuthentic), ("c", Corrupt::UnknownFormat(b'n'))].contains(&(&*key, why)),
        "{key}"
    );
    assert!(store(&server, &[2]).get("d").await.unwrap().is_some(), "behind them");
}

#[tokio::test]
async fn what_others_write_while_values_are_written_anew_stays() {
    let server = server();
    let (old, new) = (store(&server, &[1]), store(&server, &[1, 2]));
    for key in 0..20 {
        write(&old, &format!("key-{key:02}"), "0").await;
    }
    let writer = tokio::spawn({
        let old = store(&server, &[1]);
        async move {
            for round in 1..=50 {
                for key in 0..20 {
                    write(&old, &format!("key-{key:02}"), &round.to_string()).await;
                }
            }
        }
    });
    while !writer.is_finished() {
        new.reseal("", 100).await.unwrap();
    }
    writer.await.unwrap();
    for (_, entry) in new.scan(Filter::default(), "", 100, u64::MAX).await.unwrap().items {
        assert_eq!((&entry.value[..], entry.metadata.version), (&b"50"[..], 51));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_added_to_exactly_by_several_processes_at_once() {
    let server = server();
    // A keyring of its own each, as processes have.
    let processes = [(); 3].map(|()| store(&server, &[1]));
    let adders = processes.iter().flat_map(|store| [store.clone(), store.clone(), store.clone()]);
    let adders: Vec<_> = adders
        .map(|store| {
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                for _ in 0..20 {
                    seen.insert(store.increment("n", 1, Ttl::Forever).await.unwrap().unwrap().value);
                }
                seen
            })
        })
        .collect();
    let mut seen = BTreeSet::new();
    for adder in adders {
        seen.append(&mut adder.await.unwrap());
    }
    assert_eq!(seen, (1..=180).collect(), "each sum was given to one");
}

#[tokio::test]
async fn a_new_key_is_written_with_only_when_everybody_can_know_it() {
    let server = server();
    let delay = Duration::from_secs(4);
    let rotated = keyring(&[1, 2]).succeeding(Some(&keyring(&[1])), delay);
    let begun =
        Store::new(connect(&server, GATEWAY)).with_keyring(Some(keyring(&[1]).succeeding(None, delay)));
    write(&begun, "plain", SECRET).await;
    let new = Store::new(connect(&server, GATEWAY)).with_keyring(Some(rotated));
    write(&new, "old", SECRET).await;
    // Who knows only the old keys still reads both.
    assert!(store(&server, &[]).get("plain").await.unwrap().is_some());
    assert!(store(&server, &[1]).get("old").await.unwrap().is_some());
    tokio::time::timeout(Duration::from_mins(1), async {
        while store(&server, &[1]).get("old").await.is_ok() {
            write(&new, "old", SECRET).await;
        }
        while store(&server, &[]).get("plain").await.is_ok() {
            write(&begun, "plain", SECRET).await;
        }
    })
    .await
    .expect("the new key is in use after the delay");
    assert!(store(&server, &[2]).get("old").await.unwrap().is_some());
}

#[test]
fn a_key_that_is_none_is_refused_by_its_name_and_not_shown() {
    let wrong = |secret: &str, active: &str| {
        let keys = vec![DataKey { name: "encryption-key-1".into(), secret: secret.into() }];
        Keyring::new(&Encryption { keys, active_key: Some(active.into()) }).unwrap_err()
    };
    let short = BASE64_STANDARD.encode([1; 31]);
    let error = wrong(&short, "encryption-key-1");
    assert_eq!(error.to_string(), "the encryption key \"encryption-key-1\" is not 32 bytes in base64");
    let missing = wrong(&BASE64_STANDARD.encode([1; 32]), "encryption-key-2");
    assert_eq!(missing, InvalidKey::Missing("encryption-key-2".into()));
}
