//! The plan for a tenant that gets another signing key.

use super::*;
use crate::tenant::{
    credentials::signing::{Place, name},
    rollout::signing::look_again,
    rotation::signing::{Change, annotations, fits, patch},
    sleep::{Sleep, Stage},
};

const SWITCHED: &[&str] = &["signing-eddsa-former.pem", "signing-eddsa.pem"];

impl World {
    pub(super) fn rotate_signing(
        &mut self,
        key: &Key,
        change: Change,
        signing: Algorithm,
        outside: Option<&Outside>,
        request: Option<&str>,
    ) {
        let mut body = self.objects[key].body.clone();
        let mut contents = credentials::contents(body.get("data"));
        assert!(fits(change, &contents));
        let kept = outside.and_then(|it| it.0.get(name(signing, Place::Active))).map(String::as_str);
        for (name, text) in patch(change, &"shop".parse().unwrap(), &contents, signing, kept).unwrap() {
            match text {
                Some(text) => contents.insert(name, text),
                None => contents.remove(&name),
            };
        }
        body["data"] = data(&contents);
        for (name, text) in annotations(change, request, self.now).as_object().unwrap() {
            body["metadata"]["annotations"][name] = text.clone();
        }
        self.put(key.kind, body);
    }

    fn signing_names(&self) -> Vec<String> {
        let contents = self.observed().credential_contents().unwrap();
        contents.into_keys().filter(|name| name.starts_with("signing-")).collect()
    }

    fn later(&mut self, seconds: i64) {
        self.now = Timestamp::from_second(self.now.as_second() + seconds).unwrap();
        self.done.clear();
        self.settle();
    }
}

fn asleep(spec: Value) -> World {
    let mut world = World::new(spec);
    let sleep = Sleep {
        stage: Stage::Asleep,
        since: Timestamp::UNIX_EPOCH,
        due: None,
        generation: Some(3),
        knocks: 0,
    };
    world.tenant = world.tenant.sleeping(Some(sleep), true);
    world
}

#[test]
fn gateways_are_told_before_the_next_key_signs_also_while_the_tenant_sleeps() {
    let mut serving = World::new(json!({}));
    for world in [&mut serving, &mut asleep(json!({ "hibernation": { "idleAfter": "30m" } }))] {
        world.settle();
        world.tenant.signing_request = Some("1".into());
        world.later(0);
        let steps =
            ["Secret tenant-shop/credentials", "Secret front/route-shop", "Secret tenant-shop/credentials"];
        assert_eq!(world.done, steps, "made, told, noted that it was told");
        assert_eq!(world.signing_names(), ["signing-eddsa-next.pem", "signing-eddsa.pem"]);
        assert_eq!(look_again(&world.tenant, &world.observed(), world.now), Some(Duration::from_secs(30)));
        world.later(29);
        assert!(world.done.is_empty());
        world.later(1);
        assert_eq!(world.signing_names(), SWITCHED);
        assert_eq!(world.done, steps);
        world.later(31 * 60 - 1);
        assert_eq!(world.signing_names(), SWITCHED, "tokens live for 30 minutes");
        world.later(1);
        assert_eq!(world.signing_names(), ["signing-eddsa.pem"]);
        assert_eq!(look_again(&world.tenant, &world.observed(), world.now), None);
    }
}

#[test]
fn a_new_tenant_waits_for_a_key_that_somebody_else_keeps_and_takes_it() {
    let mut world = World::new(json!({ "auth": { "existingSecret": "vault", "signing": "HS256" } }));
    world.key = Some(Err("auth.existingSecret: the Secret tenant-shop/vault is not there yet".into()));
    let plan = world.plan();
    plan.steps.into_iter().for_each(|step| world.carry_out(step));
    let plan = world.plan();
    assert!(plan.steps.is_empty() && plan.waits_for.unwrap().ends_with("vault is not there yet"));

    let key = |text: &str| Some(Ok(Outside([("signing-hs256".to_owned(), text.to_owned())].into())));
    world.key = key("theirs");
    world.settle();
    let active = |world: &World| world.observed().credential_contents().unwrap()["signing-hs256"].clone();
    assert_eq!(active(&world), "theirs");
    assert_eq!(
        look_again(&world.tenant, &world.observed(), world.now),
        Some(Duration::from_secs(15)),
        "no watch tells of another"
    );

    world.key = key("changed");
    world.later(0);
    assert_eq!(active(&world), "theirs");
    // What was begun goes on while it is away.
    world.key = Some(Err("auth.existingSecret: the Secret tenant-shop/vault cannot be read".into()));
    world.now = Timestamp::from_second(world.now.as_second() + 30).unwrap();
    for _ in 0..5 {
        let plan = world.plan();
        plan.steps.into_iter().for_each(|step| world.carry_out(step));
    }
    assert_eq!(active(&world), "changed");
    assert!(world.plan().waits_for.unwrap().ends_with("cannot be read"), "it is said");
}
