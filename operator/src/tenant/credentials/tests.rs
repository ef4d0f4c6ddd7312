//! What is generated, and what of it is read.

use super::*;

fn needs(signing: Algorithm) -> Needs {
    Needs { signing, encryption: None, topology: Topology::Standalone, app: false, webhooks: false }
}

fn made(contents: &Contents, signing: Algorithm) -> Contents {
    missing(&"shop".parse().unwrap(), contents, needs(signing)).unwrap()
}

#[test]
fn what_is_missing_is_made_and_what_is_there_stays() {
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    assert!(is_complete(&contents, needs(Algorithm::EdDSA)));
    let before = read(&contents, needs(Algorithm::EdDSA)).unwrap();

    contents.remove(GATEWAY_PASSWORD);
    let added = made(&contents, Algorithm::HS256);
    assert_eq!(added.keys().collect::<Vec<_>>(), [GATEWAY_PASSWORD], "another key takes over in steps");
    contents.extend(added);
    let after = read(&contents, needs(Algorithm::HS256)).unwrap();
    assert_ne!(after.gateway_password, before.gateway_password);
    assert_eq!((after.worker_password, after.keys), (before.worker_password, before.keys));
    assert_eq!(after.active_key, before.active_key);
}

#[test]
fn of_two_keys_the_one_of_the_wanted_algorithm_signs_and_both_verify() {
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    contents.insert(SIGNING_HS256.into(), generate(&"shop".parse().unwrap(), SIGNING_HS256).unwrap());
    for (place, signing) in [Algorithm::EdDSA, Algorithm::HS256].into_iter().enumerate() {
        let read = read(&contents, needs(signing)).unwrap();
        assert_eq!((read.keys.len(), &read.active_key), (2, &read.keys[place].id));
    }
}

#[test]
fn a_signing_key_of_somebody_else_is_one_that_a_gateway_can_sign_with() {
    let good = made(&Contents::new(), Algorithm::EdDSA)[SIGNING_EDDSA].clone();
    let take = |text: &str, signing| {
        let name = signing::name(signing, Place::Active);
        signing::outside(Some(&data(&[(name.to_owned(), text.to_owned())].into())), signing)
    };
    let taken = take(&good, Algorithm::EdDSA).unwrap();
    assert!(!format!("{taken:?}").contains(&good[30..50]));
    assert_eq!(taken.0[SIGNING_EDDSA], good.trim());
    let secret = STANDARD.encode([7; 32]);
    assert_eq!(take(&format!("{secret}\n"), Algorithm::HS256).unwrap().0[SIGNING_HS256], secret);

    let (short, broken) = (STANDARD.encode([7; 31]), good.replace('M', "N"));
    for (wrong, signing, hint) in [
        ("", Algorithm::EdDSA, "openssl genpkey -algorithm ed25519"),
        (secret.as_str(), Algorithm::EdDSA, "auth.existingSecret"),
        (broken.as_str(), Algorithm::EdDSA, "signing-eddsa.pem is missing, or"),
        (good.as_str(), Algorithm::HS256, "openssl rand -base64 48"),
        (short.as_str(), Algorithm::HS256, "at least 32 bytes"),
        ("not base64, though long enough for a secret", Algorithm::HS256, "signing-hs256 is missing, or"),
    ] {
        let said = take(wrong, signing).unwrap_err().to_string();
        assert!(said.contains(hint) && (wrong.is_empty() || !said.contains(wrong)), "{said}");
    }
    assert!(signing::outside(None, Algorithm::EdDSA).is_err());
}

#[test]
fn what_somebody_else_keeps_is_put_in_where_it_lacks_but_no_second_signing_key() {
    let given =
        |names: &[&str]| Outside(names.iter().map(|name| ((*name).to_owned(), "given".into())).collect());
    let outside = given(&[GATEWAY_PASSWORD]).and(given(&[SIGNING_HS256]));
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    assert!(outside.lacking(&contents).is_empty());
    contents.insert(GATEWAY_PASSWORD.into(), String::new());
    assert_eq!(outside.lacking(&contents).keys().collect::<Vec<_>>(), [GATEWAY_PASSWORD]);
    contents.remove(SIGNING_EDDSA);
    assert_eq!(outside.lacking(&contents).keys().collect::<Vec<_>>(), [GATEWAY_PASSWORD, SIGNING_HS256]);
}

#[test]
fn a_tenant_that_gets_more_members_gets_what_they_log_in_with() {
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    let needs = Needs { topology: Topology::Replicated, ..needs(Algorithm::EdDSA) };
    assert!(read(&contents, needs).is_none());
    let added = missing(&"shop".parse().unwrap(), &contents, needs).unwrap();
    assert_eq!(added.keys().collect::<Vec<_>>(), [REPLICATION_PASSWORD, SENTINEL_PASSWORD]);
    contents.extend(added);
    let passwords = read(&contents, needs).unwrap().members;
    assert_ne!(passwords["replication"], passwords["sentinel"]);
}

#[test]
fn the_members_of_a_cluster_log_in_as_a_user_of_their_own() {
    let needs = Needs { topology: Topology::Cluster, ..needs(Algorithm::EdDSA) };
    let contents = missing(&"shop".parse().unwrap(), &Contents::new(), needs).unwrap();
    let members = read(&contents, needs).unwrap().members;
    assert_eq!(members.into_keys().collect::<Vec<_>>(), ["cluster", "replication"]);
}

#[test]
fn the_tenants_own_clients_have_a_password_where_there_may_be_any() {
    let needs = Needs { app: true, ..needs(Algorithm::EdDSA) };
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    assert!(read(&contents, needs).is_none() && !is_complete(&contents, needs));
    let added = missing(&"shop".parse().unwrap(), &contents, needs).unwrap();
    assert_eq!(added.keys().collect::<Vec<_>>(), [APP_PASSWORD]);
    contents.extend(added);
    assert!(read(&contents, needs).unwrap().members.contains_key("app"));
    assert!(passwords(needs).contains(&APP_PASSWORD.to_owned()), "it is replaced as the others are");
    let mut outside = contents.clone();
    outside.insert(APP_PASSWORD.into(), "short".into());
    let error = Outside::read(Some(&data(&outside)), needs).unwrap_err();
    assert!(error.to_string().starts_with("app-password is missing, or"), "{error}");
    // Who keeps the others need not keep it.
    outside.remove(APP_PASSWORD);
    let outside = Outside::read(Some(&data(&outside)), needs).unwrap();
    let made = missing(&"shop".parse().unwrap(), &outside.0, needs).unwrap();
    assert!(made.contains_key(APP_PASSWORD), "{made:?}");
}

#[test]
fn webhooks_are_signed_with_what_is_made_and_with_what_was_before_while_that_is_kept() {
    let needs = Needs { webhooks: true, ..needs(Algorithm::EdDSA) };
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    assert!(read(&contents, needs).is_none() && !is_complete(&contents, needs));
    let make = |contents: &Contents| missing(&"shop".parse().unwrap(), contents, needs).unwrap();
    let first = make(&contents);
    assert_eq!(first.keys().collect::<Vec<_>>(), [WEBHOOK_SECRET]);
    let bytes = STANDARD.decode(first[WEBHOOK_SECRET].strip_prefix("whsec_").unwrap()).unwrap();
    assert_eq!(bytes.len(), 32);

    // As a person changes it.
    contents.insert("webhook-secret-former".into(), first[WEBHOOK_SECRET].clone());
    contents.extend(make(&contents));
    let secrets = read(&contents, needs).unwrap().webhook_secrets;
    assert_eq!(secrets.keys().copied().collect::<Vec<_>>(), WEBHOOK_SECRETS);
    assert_eq!(secrets["webhook-secret-former"].expose(), first[WEBHOOK_SECRET]);
    assert_ne!(secrets[WEBHOOK_SECRET], secrets["webhook-secret-former"]);
}

#[test]
fn passwords_of_somebody_else_must_all_be_there_and_fit_into_a_configuration() {
    let mut outside = made(&Contents::new(), Algorithm::EdDSA);
    let read = |contents: &Contents| Outside::read(Some(&data(contents)), needs(Algorithm::EdDSA));
    let taken = read(&outside).unwrap();
    assert_eq!(taken.0.len(), 4, "no key and no API key is taken: {taken:?}");
    assert!(!format!("{taken:?}").contains(&outside[GATEWAY_PASSWORD]));
    for wrong in ["", "short", "with a space in it", "with-a-\"-quote-in-it"] {
        outside.insert(GATEWAY_PASSWORD.into(), wrong.into());
        assert!(
            read(&outside).unwrap_err().to_string().starts_with("gateway-password is missing, or"),
            "{wrong}"
        );
    }
}

#[test]
fn no_two_tenants_share_a_secret_or_a_key_id() {
    let [one, other] = [(); 2].map(|()| made(&Contents::new(), Algorithm::EdDSA));
    for (name, text) in &one {
        assert_ne!(text, &other[name], "{name}");
    }
    let id = |contents| read(contents, needs(Algorithm::EdDSA)).unwrap().active_key;
    assert_ne!(id(&one), id(&other));
}

#[test]
fn secrets_are_long_enough() {
    let contents = made(&Contents::new(), Algorithm::HS256);
    assert!(STANDARD.decode(&contents[SIGNING_HS256]).unwrap().len() >= 32);
    assert_eq!(contents[GATEWAY_PASSWORD].len(), 64);
}

#[test]
fn the_admins_api_key_is_the_tenants_and_is_known_by_its_hash() {
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    let text = contents[ADMIN_API_KEY].clone();
    let key = ApiKeyText::parse(&text).unwrap();
    assert_eq!((key.tenant, key.id), ("shop", ADMIN_KEY_ID));
    let hash = read(&contents, needs(Algorithm::EdDSA)).unwrap().admin_key_sha256;
    assert!(key.has_hash(&hash));
    contents.insert(ADMIN_API_KEY.into(), "by hand".into());
    assert_eq!(made(&contents, Algorithm::EdDSA).keys().collect::<Vec<_>>(), [ADMIN_API_KEY]);
}

#[test]
fn the_ed25519_key_is_pkcs8_that_signs() {
    let pem = generate(&"shop".parse().unwrap(), SIGNING_EDDSA).unwrap();
    let der = STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
    assert!(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).is_ok());
}

#[test]
fn data_survives_the_way_through_the_secret() {
    let contents = made(&Contents::new(), Algorithm::EdDSA);
    assert_eq!(super::contents(Some(&data(&contents))), contents);
}

#[test]
fn a_key_of_values_is_made_once_for_each_version_and_never_anew() {
    let version = |version| Needs { encryption: Some(version), ..needs(Algorithm::EdDSA) };
    let mut contents = made(&Contents::new(), Algorithm::EdDSA);
    assert_eq!(read(&contents, needs(Algorithm::EdDSA)).unwrap().encryption, None);
    assert!(read(&contents, version(1)).is_none(), "there is no key yet");
    let shop = "shop".parse().unwrap();
    for number in [1, 2] {
        let added = missing(&shop, &contents, version(number)).unwrap();
        assert_eq!(added.keys().collect::<Vec<_>>(), [&encryption_key(number)]);
        assert_eq!(STANDARD.decode(&added[&encryption_key(number)]).unwrap().len(), 32);
        contents.extend(added);
    }
    let names = |needs| {
        let encryption = read(&contents, needs).unwrap().encryption.unwrap();
        (encryption.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>(), encryption.active_key)
    };
    let both = vec!["encryption-key-1".to_owned(), "encryption-key-2".to_owned()];
    assert_eq!(names(version(2)), (both.clone(), Some("encryption-key-2".into())));
    assert_eq!(names(needs(Algorithm::EdDSA)), (both, None), "turned off, what was written stays readable");
    contents.insert("encryption-key-1".into(), "by hand".into());
    assert!(missing(&shop, &contents, version(1)).unwrap().is_empty());
    let mut raw = data(&contents);
    raw["encryption-key-1"] = Value::String(STANDARD.encode([0xff; 32]));
    let contents = super::contents(Some(&raw));
    assert!(missing(&shop, &contents, version(1)).unwrap().is_empty(), "bytes are not made anew either");
}
