//! What of a tenant that may sleep is another than of one that never does.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::tenant::sleep::{ANNOTATION, Sleep, Stage};

fn in_stage(stage: Stage, redis_rests: bool) -> Vec<Object> {
    let settings = fixtures::settings();
    let spec = json!({ "hibernation": { "idleAfter": "30m" } });
    let since = Timestamp::UNIX_EPOCH;
    let sleep = Sleep { stage, since, due: None, generation: Some(3), knocks: 0 };
    let tenant = validate(&fixtures::tenant(spec), &settings, None).unwrap();
    let tenant = tenant.sleeping(Some(sleep), redis_rests);
    build(&Known {
        tenant: &tenant,
        settings: &settings,
        credentials: Some(&fixtures::credentials()),
        addresses: &addresses(&tenant),
        readers_ip: None,
        redis_sets: &[],
        tls: None,
        restarts_until: None,
    })
}

fn body<'a>(objects: &'a [Object], kind: Kind, name: &str) -> &'a Value {
    &objects.iter().find(|it| it.key.kind == kind && it.key.name == name).unwrap().body
}

#[test]
fn a_tenant_that_sleeps() {
    let differs = |it: &Object| match it.key.kind {
        Kind::StatefulSet | Kind::Deployment | Kind::HorizontalPodAutoscaler => true,
        Kind::Secret => it.key.namespace == "front" || it.key.name == "redis-users",
        _ => false,
    };
    let objects: Vec<Object> = in_stage(Stage::Asleep, true).into_iter().filter(differs).collect();
    snapshot("asleep", &objects);
}

#[test]
fn gateways_are_told_before_anything_ends_and_only_once_redis_answers() {
    for (stage, asleep) in
        [(Stage::Awake, false), (Stage::Drowsy, true), (Stage::Asleep, true), (Stage::Waking, true)]
    {
        let objects = in_stage(stage, false);
        let route = body(&objects, Kind::Secret, "route-shop");
        let document = readable(route)["data"]["route.json"].as_str().unwrap().to_owned();
        assert!(document.contains(&format!(r#""hibernation":{{"asleep":{asleep}}}"#)), "{document}");
        assert!(
            route["metadata"]["annotations"][ANNOTATION].as_str().unwrap().contains(&format!("{stage:?}"))
        );
        assert_eq!(body(&objects, Kind::StatefulSet, "redis")["spec"]["replicas"], json!(1));
        let wants_worker = stage != Stage::Asleep;
        let scalers = objects.iter().filter(|it| it.key.kind == Kind::HorizontalPodAutoscaler).count();
        assert_eq!(scalers == 1, wants_worker);
    }
}

#[test]
fn one_that_never_sleeps_lets_nobody_look_into_its_queue() {
    let users = |spec: Value| {
        let objects = built(spec);
        readable(body(&objects, Kind::Secret, "redis-users"))["data"]["users.acl"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(!users(json!({})).contains(secret::SLEEP_RULES));
    let may_sleep = users(json!({ "hibernation": { "idleAfter": "30m" } }));
    let monitor = may_sleep.lines().find(|line| line.starts_with("user monitor")).unwrap();
    assert!(monitor.ends_with(secret::SLEEP_RULES), "{monitor}");
    assert_eq!(may_sleep.matches(secret::SLEEP_RULES).count(), 1);
}
