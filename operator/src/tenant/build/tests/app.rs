//! What the tenant's own clients are given, and who answers the reads of all.

use super::*;

/// A tenant of this Redis that names somebody who may reach it.
fn with_clients(redis: &Value) -> Value {
    json!({ "redis": redis, "network": { "allowFrom": [{ "podSelector": {} }] } })
}

fn data(objects: &[Object], name: &str) -> Option<Value> {
    let secret = objects.iter().find(|it| it.key.kind == Kind::Secret && it.key.name == name)?;
    Some(readable(&secret.body)["data"].clone())
}

/// The line of this user in a file of users.
fn line(objects: &[Object], file: &str, user: &str) -> String {
    let users = data(objects, "redis-users").unwrap();
    let mut lines = users[file].as_str().unwrap().lines();
    lines.find(|line| line.starts_with(&format!("user {user} "))).unwrap().to_owned()
}

#[test]
fn who_may_reach_a_single_redis_is_told_where_it_is_and_as_whom() {
    let objects = built(with_clients(&json!({ "tls": { "enabled": true } })));
    let told = json!({
        "type": "redis",
        "host": "10.3.2.1",
        "port": "6379",
        "username": "app",
        "password": "app-word",
        "ca.crt": "certificate of the authority\n",
    });
    assert_eq!(data(&objects, "redis-app"), Some(told));
    let secret = objects.iter().find(|it| it.key.name == "redis-app").unwrap();
    assert_eq!(secret.key.namespace, "tenant-shop");
    assert_eq!(secret.body["type"], "servicebinding.io/redis");
}

#[test]
fn who_may_reach_several_is_told_of_the_sentinels_or_of_all_nodes() {
    let replicated = data(&built(with_clients(&json!({ "topology": "Replicated" }))), "redis-app").unwrap();
    assert_eq!(replicated["sentinels"], "10.3.2.1:26379,10.3.2.2:26379,10.3.2.3:26379");
    assert_eq!((&replicated["primary-name"], &replicated["host"]), (&json!("primary"), &json!("10.3.2.1")));
    assert!(replicated.get("ca.crt").is_none());
    let spec = with_clients(&json!({ "topology": "Cluster", "replicasPerShard": 0 }));
    let cluster = data(&built(spec), "redis-app").unwrap();
    assert_eq!(cluster["nodes"], "10.3.2.1:6379,10.3.2.2:6379,10.3.2.3:6379");
    assert!(cluster.get("sentinels").is_none());
}

#[test]
fn they_are_users_of_redis_and_of_the_sentinels_only_while_the_spec_names_anybody() {
    let replicated = json!({ "topology": "Replicated" });
    let with = built(with_clients(&replicated));
    let without = built(json!({ "redis": replicated }));
    for (file, rules) in [
        ("users.acl", secret::APP_RULES.to_owned()),
        ("sentinel-users.acl", format!("{} {}", replicated::CLIENT_OF_SENTINEL, replicated::APP_OF_SENTINEL)),
    ] {
        let app = line(&with, file, "app");
        assert!(app.starts_with("user app on #") && app.ends_with(&rules), "{app}");
        assert_eq!(line(&without, file, "app"), "user app off", "a Redis that runs has to be told");
    }
    assert_eq!(data(&without, "redis-app"), None);
    let cluster = built(with_clients(&json!({ "topology": "Cluster" })));
    assert!(line(&cluster, "users.acl", "app").ends_with(cluster::APP_OF_CLUSTER));
    assert!(!line(&with, "users.acl", "app").contains("+cluster"));
}

#[test]
fn while_their_password_is_replaced_both_are_valid_and_the_one_that_is_used_is_told() {
    let next = [("app-password".to_owned(), vec!["app-word-to-come".into()])].into();
    let credentials = Credentials { others: next, ..fixtures::credentials() };
    let objects = built_with(with_clients(&json!({})), &fixtures::settings(), &credentials);
    assert_eq!(line(&objects, "users.acl", "app").matches('#').count(), 2);
    assert_eq!(data(&objects, "redis-app").unwrap()["password"], "app-word");
}

#[test]
fn an_ipv6_address_is_told_without_its_brackets() {
    let settings = fixtures::settings();
    let tenant = validate(&fixtures::tenant(with_clients(&json!({}))), &settings, None).unwrap();
    let objects = build(&Known {
        tenant: &tenant,
        settings: &settings,
        credentials: Some(&fixtures::credentials()),
        addresses: &[("redis".into(), "fd00::1".into())],
        readers_ip: None,
        redis_sets: &[],
        tls: None,
        restarts_until: None,
    });
    let told = data(&objects, "redis-app").unwrap();
    assert_eq!((&told["host"], &told["port"]), (&json!("fd00::1"), &json!("6379")));
}

#[test]
fn the_gateway_is_told_where_reads_go_when_it_is_another_place_than_ever() {
    let route = |redis: Value| {
        let route = data(&built(json!({ "redis": redis })), "route-shop").unwrap();
        route["route.json"].as_str().unwrap().to_owned()
    };
    let replica = route(json!({ "topology": "Replicated", "reads": "Replica" }));
    assert!(replica.contains(r#""reads":"Replica""#), "{replica}");
    let primary = route(json!({ "topology": "Replicated" }));
    assert!(!primary.contains("reads\":"), "{primary}");
}
