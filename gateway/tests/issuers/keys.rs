//! How an issuer's keys are come by: new ones, lost ones, and issuers that are down, slow or wrong.

use keystead_tests::redis::Server;
use serde_json::{Value, json};

use crate::{
    client::{code, eventually, refused_start},
    is_taken,
    process::{Authority, CONFIGURATION, Issuer, KEYS, Key},
    read, start, trusting, with,
};

/// How an issuer goes wrong, after what the log says of it.
type Fault<'a> = (&'a str, Box<dyn Fn(&mut Issuer) + 'a>);

#[test]
fn tokens_with_made_up_keys_do_not_make_the_gateway_ask_the_issuer_again_and_again() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::es256("e"));
    let mut issuer = Issuer::start(&authority, &[&key]);
    let gateway = start(&[trusting("acme", &redis, &[(&issuer.url, "keystead")])], &authority, &[]);
    let (began, claims) = (std::time::Instant::now(), issuer.claims());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gateway, key, claims) = (&gateway, &key, &claims);
            scope.spawn(move || {
                for number in 0..50 {
                    let junk = key.sign_as(Some(&format!("junk-{thread}-{number}")), claims);
                    assert!(!is_taken(gateway, "acme", &junk));
                }
            });
        }
    });
    // At first use, once for an unknown key, and once more for each 10 s that all this took.
    let most = 2 + began.elapsed().as_secs() / 10;
    assert!(issuer.asked(KEYS) <= most, "{} of at most {most}", issuer.asked(KEYS));

    let before = issuer.asked(KEYS);
    let stranger = Key::es256("e");
    (0..50).for_each(|_| assert!(!is_taken(&gateway, "acme", &stranger.sign(&claims))));
    assert_eq!(issuer.asked(KEYS), before, "a wrong signature by a known key costs nothing");
    assert!(is_taken(&gateway, "acme", &key.sign(&claims)));
}

#[test]
fn a_new_key_is_taken_at_once_and_one_that_is_gone_is_refused_after_the_refresh() {
    let (redis, authority) = (Server::start(), Authority::new());
    let (old, new) = (Key::rs256("old"), Key::eddsa("new"));
    let mut issuer = Issuer::start(&authority, &[&old]);
    let route = trusting("acme", &redis, &[(&issuer.url, "keystead")]);
    let gateway = start(&[route], &authority, &["--issuer-refresh", "2"]);
    let (by_old, by_new) = (old.sign(&issuer.claims()), new.sign(&issuer.claims()));
    assert!(is_taken(&gateway, "acme", &by_old));
    issuer.publish(&[old.jwk.clone(), new.jwk.clone()]);
    assert!(is_taken(&gateway, "acme", &by_new), "the first request with it has the keys fetched");
    assert!(is_taken(&gateway, "acme", &by_old));

    issuer.publish(std::slice::from_ref(&new.jwk));
    eventually(|| (!is_taken(&gateway, "acme", &by_old)).then_some(()));
    assert!(is_taken(&gateway, "acme", &by_new));
}

#[test]
fn an_issuer_that_is_down_ends_nothing_that_was_begun() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::es256("e"));
    let mut issuer = Issuer::start(&authority, &[&key]);
    let route = trusting("acme", &redis, &[(&issuer.url, "keystead")]);
    let gateway = start(&[route], &authority, &["--issuer-refresh", "1"]);
    let known = key.sign(&issuer.claims());
    assert!(is_taken(&gateway, "acme", &known));
    issuer.answer(CONFIGURATION, &json!({"status": 500}));
    // It has failed: from now on the keys are those from before.
    eventually(|| {
        is_taken(&gateway, "acme", &known).then(|| gateway.log().contains("answers 500")).filter(|it| *it)
    });
    assert!(is_taken(&gateway, "acme", &known));
    assert!(is_taken(&gateway, "acme", &key.sign(&with(issuer.claims(), "sub", json!("grace-2")))));
    let unknown = key.sign_as(Some("unknown"), &issuer.claims());
    assert!(!is_taken(&gateway, "acme", &unknown));
    let claims = issuer.claims();
    drop(issuer);
    assert!(is_taken(&gateway, "acme", &known));
    assert!(is_taken(&gateway, "acme", &key.sign(&with(claims, "sub", json!("eve-3")))));
}

#[test]
fn an_issuer_that_was_never_reached_holds_up_only_its_own_tokens() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::eddsa("d"));
    let issuer = Issuer::start(&authority, &[&key]);
    let mut hanging = Issuer::start(&authority, &[&key]);
    hanging.answer(CONFIGURATION, &json!({"hang": true}));
    let gone = Issuer::start(&authority, &[&key]);
    let from_gone = key.sign(&gone.claims());
    let routes = [
        trusting(
            "acme",
            &redis,
            &[(&hanging.url, "keystead"), (&issuer.url, "keystead"), (&gone.url, "keystead")],
        ),
        trusting("globex", &redis, &[(&issuer.url, "keystead")]),
    ];
    drop(gone);
    let gateway = start(&routes, &authority, &[]);
    let answer = read(&gateway, "acme", &from_gone);
    assert_eq!(code(&answer), (503, "issuer_unavailable".into()));
    assert!((1..=11).contains(&answer.header("retry-after").parse::<u64>().unwrap()), "{answer:?}");

    let from_hanging = key.sign(&hanging.claims());
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (read(&gateway, "acme", &from_hanging), std::time::Instant::now())))
            .collect();
        eventually(|| (hanging.asked(CONFIGURATION) > 0).then_some(()));
        assert!(is_taken(&gateway, "globex", &key.sign(&issuer.claims())));
        assert!(is_taken(&gateway, "acme", &key.sign(&issuer.claims())));
        let done = std::time::Instant::now();
        for thread in waiting {
            let (answer, ended) = thread.join().unwrap();
            assert_eq!(code(&answer), (503, "issuer_unavailable".into()));
            assert!(ended > done, "others have waited for the issuer that hangs");
        }
    });
    assert_eq!(hanging.asked(CONFIGURATION), 1, "eight have waited for one answer");
    let log = gateway.log();
    assert!(log.contains("does not answer"), "{log}");
}

#[test]
fn an_issuer_that_does_not_keep_the_rules_is_not_used_and_the_log_says_why() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::eddsa("d"));
    let keys = json!({"keys": [key.jwk]}).to_string();
    let configuration = |issuer: &Issuer, name: &str, value: Value| json!({"body": with(issuer.configuration(), name, value).to_string()});
    let insecure = |issuer: &Issuer| format!("{}{KEYS}", issuer.url.replace("https", "http"));
    let faults: [Fault<'_>; 7] = [
        (
            "names another issuer",
            Box::new(|it| {
                let answer = configuration(it, "issuer", json!("https://login.example.com"));
                it.answer(CONFIGURATION, &answer);
            }),
        ),
        (
            "is not an https URL without a user",
            Box::new(|it| {
                let answer = configuration(it, "jwks_uri", json!(insecure(it)));
                it.answer(CONFIGURATION, &answer);
            }),
        ),
        (
            "the discovery document is not valid",
            Box::new(|it| it.answer(CONFIGURATION, &json!({"body": "hello"}))),
        ),
        (
            "longer than 262144 bytes",
            Box::new(|it| {
                it.answer(KEYS, &json!({"body": format!("{keys}{}", " ".repeat(300_000))}));
            }),
        ),
        (
            "answers 302",
            Box::new(|it| {
                it.answer("/elsewhere", &json!({"body": keys}));
                it.answer(KEYS, &json!({"status": 302, "location": format!("{}/elsewhere", it.url)}));
            }),
        ),
        ("more than 100", Box::new(|it| it.publish(&vec![key.jwk.clone(); 101]))),
        ("no JSON Web Key Set", Box::new(|it| it.answer(KEYS, &json!({"body": "[]"})))),
    ];
    for (reason, breaking) in faults {
        let mut issuer = Issuer::start(&authority, &[&key]);
        breaking(&mut issuer);
        let route = trusting("acme", &redis, &[(&issuer.url, "keystead")]);
        let gateway = start(&[route], &authority, &[]);
        let answer = read(&gateway, "acme", &key.sign(&issuer.claims()));
        assert_eq!(code(&answer), (503, "issuer_unavailable".into()), "{reason}");
        assert!(!answer.text().contains(reason), "what can be reached is not for clients: {}", answer.text());
        assert!(gateway.log().contains(reason), "{reason}: {}", gateway.log());
        assert_eq!(issuer.asked("/elsewhere"), 0);
    }

    // Nor is one whose certificate nobody vouches for.
    let issuer = Issuer::start(&authority, &[&key]);
    let route = trusting("acme", &redis, &[(&issuer.url, "keystead")]);
    let gateway = start(&[route], &Authority::new(), &[]);
    let answer = read(&gateway, "acme", &key.sign(&issuer.claims()));
    assert_eq!(code(&answer), (503, "issuer_unavailable".into()));
    assert!(gateway.log().contains("invalid peer certificate"), "{}", gateway.log());
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
    std::fs::write(&empty, "").unwrap();
    for (file, says) in [(missing, "give a readable file"), (empty, "there is no certificate in it")] {
        let said = refused_start(&[
            "--routes",
            folder.path().to_str().unwrap(),
            "--issuer-ca",
            file.to_str().unwrap(),
        ]);
        assert!(said.contains(says) && said.contains("--issuer-ca"), "{said}");
    }
}
