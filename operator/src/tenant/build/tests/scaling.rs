//! Who decides on the number of pods, and by what.

use super::*;

fn autoscaler(spec: Value, settings: &Settings, name: &str) -> Value {
    let objects = built_with(spec, settings, &fixtures::credentials());
    let is_it = |it: &&Object| it.key.kind == Kind::HorizontalPodAutoscaler && it.key.name == name;
    objects.iter().find(is_it).unwrap().body["spec"].clone()
}

#[test]
fn every_profile_is_the_behaviour_that_it_promises_for_workers_and_for_readers() {
    let own = json!({ "scaleDown": { "stabilizationWindowSeconds": 7, "selectPolicy": "Disabled" } });
    let behavior = |what: &str, profile: &str| {
        let mut scaling = json!({ "profile": profile });
        if profile == "Custom" {
            scaling["behavior"] = own.clone();
        }
        let spec = json!({ "redis": { "topology": "Replicated" }, "autoscaling": { what: scaling } });
        let name = if what == "workers" { names::WORKER } else { names::REDIS_READERS };
        autoscaler(spec, &fixtures::settings(), name)["behavior"].clone()
    };
    let rules = |window: i32, policies: Value| json!({ "stabilizationWindowSeconds": window, "selectPolicy": "Max", "policies": policies });
    let policy = |what: &str, value: i32, period: i32| json!({ "type": what, "value": value, "periodSeconds": period });
    for what in ["workers", "readers"] {
        // At once, and from one to the ten of the default within two steps of 15 s; down only by what no one needed for 10 min.
        let api = json!({
            "scaleUp": rules(0, json!([policy("Percent", 100, 15), policy("Pods", 4, 15)])),
            "scaleDown": rules(600, json!([policy("Percent", 100, 60)])),
        });
        assert_eq!(behavior(what, "Api"), api, "{what}");
        let cache = json!({
            "scaleUp": rules(60, json!([policy("Pods", 1, 60)])),
            "scaleDown": rules(300, json!([policy("Pods", 1, 120)])),
        });
        assert_eq!(behavior(what, "Cache"), cache, "{what}");
        assert_eq!(behavior(what, "Custom"), own, "{what}");
    }
}

#[test]
fn workers_are_scaled_by_the_queue_where_somebody_serves_its_depth() {
    let spec = json!({ "redis": { "topology": "Replicated" }, "autoscaling": {
        "workers": { "minReplicas": 0, "maxReplicas": 5, "queueDepth": 20 }, "readers": {},
    } });
    let settings = Settings { queue_metric: true, ..fixtures::settings() };
    insta::assert_yaml_snapshot!("queue_autoscaler", autoscaler(spec.clone(), &settings, names::WORKER));
    let metrics = |settings: &Settings, name| {
        let metrics = autoscaler(spec.clone(), settings, name)["metrics"].clone();
        let types = metrics.as_array().unwrap().iter().map(|it| it["type"].as_str().unwrap().to_owned());
        types.collect::<Vec<_>>()
    };
    assert_eq!(metrics(&settings, names::REDIS_READERS), ["Resource"]);
    assert_eq!(metrics(&fixtures::settings(), names::WORKER), ["Resource"]);
    let objects = built_with(spec, &settings, &fixtures::credentials());
    let deployment = objects.iter().find(|it| it.key.kind == Kind::Deployment).unwrap();
    assert!(deployment.body["spec"].get("replicas").is_none(), "it is the autoscaler's to say");
}
