//! A tenant that is treated badly under load, round after round.

use std::{env, process};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use keystead_e2e::{Gateway, Tenant, get_json, kubectl_ok, within};
use serde_json::{Value, json};

use crate::{
    client::Target,
    faults::{Fault, PATIENCE, PRIMARY_KILLED, Site},
    judge::judge,
    recorder::{Plan, Recorder},
    report::{Report, Round, folder},
};

/// A tenant under test.
#[derive(Debug)]
pub struct Subject {
    pub tenant: Tenant,
    pub site: Site,
    pub report: Report,
    target: Target,
}

impl Subject {
    /// Of this `spec.redis`, whole.
    pub fn ready(name: &str, title: &str, redis: &Value) -> Self {
        let tenant = Tenant::ready(name, &json!({ "redis": redis }));
        let site = Site::of(&tenant);
        site.settle();
        let key = tenant.field("secret", "credentials", "/data/admin-api-key");
        let key = BASE64_STANDARD.decode(key.as_str().expect("the owner's API key")).expect("base64");
        let target = Target {
            gateways: vec![Gateway::installed().base().to_owned()],
            credential: String::from_utf8(key).expect("text"),
        };
        Self { tenant, site, report: Report::new(title), target }
    }

    /// One fault under load, from a whole tenant to a whole tenant.
    pub fn round(&mut self, name: &str, strike: impl FnOnce(&Site)) {
        let words: String =
            name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
        // What a run before this one wrote is nothing to this one.
        let prefix = format!("{}-{words}-{}-{}", self.tenant.name, process::id(), self.report.rounds.len());
        let file = |ending: &str| folder().join(format!("{prefix}.{ending}"));
        let recorder = Recorder::start(&self.target, &Plan::of(&format!("{prefix}-")), &file("acknowledged"));
        recorder.await_acknowledged(500);
        let from = recorder.now();
        strike(&self.site);
        self.site.settle();
        recorder.await_acknowledged(300);
        let until = recorder.now();
        let recording = recorder.stop();
        let verdict = judge(&recording.registers, &file("history"));
        let round = Round::of(name, &recording, from, until, verdict);
        self.report.add(round, &folder().join(format!("{}.json", self.tenant.name)));
    }

    /// As often as is asked for.
    pub fn rounds_of(&mut self, fault: &Fault) {
        let times = if fault.name == PRIMARY_KILLED && rounds() > 1 { rounds() * 2 } else { rounds() };
        for _ in 0..times {
            self.round(fault.name, fault.strike);
        }
    }

    /// Changes the spec as a fault's round does it.
    pub fn change_under_load(&mut self, name: &str, spec: &Value, has_it: impl Fn(&Value) -> bool) {
        let tenant = self.tenant.name.clone();
        let patch = json!({ "spec": spec }).to_string();
        self.round(name, |site| {
            kubectl_ok(&["patch", "tenant", &tenant, "--type=merge", "-p", &patch]);
            within(PATIENCE, "the change is carried out", || is_changed(&tenant, site, &has_it));
        });
    }

    /// All passwords of Redis are replaced, as the annotation asks for.
    pub fn rotate_passwords_under_load(&mut self) {
        let tenant = self.tenant.name.clone();
        let request = format!("{}-{}", process::id(), self.report.rounds.len());
        let before = self.tenant.field("secret", "credentials", "/data/gateway-password");
        self.round("passwords", |_| {
            let annotation = format!("keystead.io/rotate-passwords={request}");
            kubectl_ok(&["annotate", "tenant", &tenant, "--overwrite", &annotation]);
            within(PATIENCE, "the passwords are replaced, and those before are no longer valid", || {
                let namespace = format!("tenant-{tenant}");
                let secret = get_json(&["secret", "credentials", "-n", &namespace])?;
                let carried_out =
                    secret["metadata"]["annotations"]["keystead.io/rotated-for"] == json!(request);
                let names = secret["data"].as_object().cloned().unwrap_or_default();
                let is_over = !names.keys().any(|name| name.ends_with("-next") || name.ends_with("-former"));
                if carried_out && is_over && names["gateway-password"] != before {
                    Ok(())
                } else {
                    Err(format!("{:?}", names.keys().collect::<Vec<_>>()))
                }
            });
        });
    }
}

/// The operator has seen the spec as it is and is done with it, and every pod has the change.
fn is_changed(tenant: &str, site: &Site, has_it: impl Fn(&Value) -> bool) -> Result<(), String> {
    let tenant = get_json(&["tenant", tenant])?;
    let seen = tenant["status"]["observedGeneration"] == tenant["metadata"]["generation"];
    let changed = site.members.pods()?.iter().all(|pod| has_it(&pod.object));
    if seen && changed && tenant["status"]["phase"] == "Ready" {
        Ok(())
    } else {
        Err(tenant["status"].to_string())
    }
}

/// How often each fault is tried, by `KEYSTEAD_CHAOS_ROUNDS`; else once.
pub fn rounds() -> usize {
    env::var("KEYSTEAD_CHAOS_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Whether `KEYSTEAD_CHAOS_ONLY` names it, or nothing.
pub fn is_wanted(fault: &Fault) -> bool {
    env::var("KEYSTEAD_CHAOS_ONLY").map_or(true, |names| names.split(';').any(|name| name == fault.name))
}
