//! Of how many tenants the Redis is restarted at the same time. Where what is built has changed with the operator, that is all of
//! them: each waits for its turn, and goes on meanwhile as it is. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use keystead_route::Durability;
use serde_json::Value;

use super::Desired;
use crate::{
    cache::Seen,
    kinds::Kind,
    tenant::{
        build::{LIVE, MEMBERS, Object, with_files},
        compare, names,
        observe::Observed,
        sleep,
        validate::{ValidTenant, version_numbers},
    },
};

/// After so long others get their turn, whatever became of the one before.
const LONGEST: Duration = Duration::from_mins(10);

/// Whose turn it is. An operator that starts knows of nobody: who is being restarted takes its turn again.
#[derive(Debug)]
pub struct Turns {
    most: usize,
    taken: HashMap<String, Turn>,
}

#[derive(Debug)]
struct Turn {
    uid: String,
    /// When it began; none: it has not ended, and is not counted any more.
    since: Option<Instant>,
}

impl Turn {
    fn counts(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) < LONGEST)
    }
}

impl Turns {
    pub fn new(most: usize) -> Self {
        Self { most, taken: HashMap::new() }
    }

    /// Asks for a turn, or for more of the one that it has. Refused, it gives how many others have theirs.
    pub fn ask(&mut self, tenant: &str, uid: &str, now: Instant) -> Result<(), usize> {
        if self.taken.get(tenant).is_some_and(|turn| turn.uid == uid && turn.counts(now)) {
            return Ok(());
        }
        let others = self.taken.iter().filter(|(name, turn)| *name != tenant && turn.counts(now)).count();
        if others >= self.most {
            return Err(others);
        }
        self.taken.insert(tenant.to_owned(), Turn { uid: uid.to_owned(), since: Some(now) });
        Ok(())
    }

    /// Of one that is being restarted already: nobody is asked.
    pub fn take(&mut self, tenant: &str, uid: &str, now: Instant) {
        if self.taken.get(tenant).is_none_or(|turn| turn.uid != uid) {
            self.taken.insert(tenant.to_owned(), Turn { uid: uid.to_owned(), since: Some(now) });
        }
    }

    /// Of one that has stopped in the middle: others need not wait for it.
    pub fn pass(&mut self, tenant: &str) {
        if let Some(turn) = self.taken.get_mut(tenant) {
            turn.since = None;
        }
    }

    /// Its Redis is as it is wanted, or is not to run, or there is no such tenant any more.
    pub fn end(&mut self, tenant: &str) {
        self.taken.remove(tenant);
    }
}

/// What is said of one that waits for its turn.
pub fn waits(others: usize) -> String {
    let who =
        if others == 1 { "another tenant is".to_owned() } else { format!("{others} other tenants are") };
    format!("{who} being changed: this one waits for its turn")
}

/// Whether what is desired restarts a Redis that serves.
pub fn restarts(tenant: &ValidTenant, desired: &Desired, observed: &Observed) -> bool {
    let is_awake = observed.sleep().is_none_or(|it| it.stage == sleep::Stage::Awake);
    let is_served = !tenant.suspended && !tenant.rests() && is_awake;
    is_served && desired.objects.iter().any(|object| is_restarted(object, observed))
}

/// Whether the Redis as it is serves as well while it waits. Not where what others go by needs the one that is wanted: users with
/// a command that a Redis before 7.2 does not know, whose whole file it would refuse, or writes that wait for a file.
pub fn may_wait(tenant: &ValidTenant, observed: &Observed) -> bool {
    let has_waitaof = observed.provisioned_version().and_then(version_numbers).is_none_or(|it| it >= [7, 2]);
    let conf = observed.get(Kind::ConfigMap, names::REDIS_CONFIG).and_then(|it| it.at("/data/redis.conf"));
    let has_file = conf.and_then(Value::as_str).is_some_and(|it| it.contains("\nappendonly yes\n"));
    (!tenant.redis.knows_waitaof || has_waitaof) && (tenant.redis.durability != Durability::Fsync || has_file)
}

/// Leaves the Redis as it is that would be restarted, its readers, and what their pods start with: one that dies meanwhile comes
/// back as it was. What is taken live is not held back.
pub fn hold_back(desired: &mut Desired, observed: &Observed) {
    for object in &mut desired.objects {
        let is_of_readers = object.key.kind == Kind::StatefulSet && object.key.name == names::REDIS_READERS;
        let Some(seen) = observed.by_key(&object.key) else { continue };
        if is_of_readers || is_restarted(object, observed) {
            object.body.clone_from(&seen.body);
        } else if is_for_the_same_members(object, observed) {
            let (files, live) = (&seen.body["data"], &object.body["data"][LIVE]);
            if *live == files[LIVE] {
                object.body.clone_from(&seen.body);
            } else {
                let mut files = files.clone();
                files[LIVE].clone_from(live);
                *object = with_files(object, files);
            }
        }
    }
}

fn is_restarted(object: &Object, observed: &Observed) -> bool {
    let name = object.key.name.as_str();
    let is_redis =
        object.key.kind == Kind::StatefulSet && (name == names::REDIS || names::shard_of(name).is_some());
    let Some(seen) = observed.by_key(&object.key).filter(|it| is_redis && !it.is_terminating()) else {
        return false;
    };
    let number = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or_default();
    let wanted = number(object.body.pointer("/spec/replicas"));
    let serves = number(seen.at("/status/readyReplicas")) > 0;
    let strategy = "/spec/updateStrategy/type";
    serves
        && wanted > 0
        && number(seen.at("/spec/replicas")) == wanted
        && seen.at(strategy) == object.body.pointer(strategy)
        && has_another_template(seen, object)
}

/// Also where something is only left out, which the hash tells: one from before there was a hash is compared alone.
fn has_another_template(seen: &Seen, object: &Object) -> bool {
    let hash = |it: &Value| it.pointer("/metadata/annotations")?.get(names::TEMPLATE_ANNOTATION).cloned();
    let template = |it: &Value| it.pointer("/spec/template").cloned().unwrap_or_default();
    hash(&seen.body).is_some_and(|it| Some(it) != hash(&object.body))
        || !compare::has(&template(&seen.body), &template(&object.body))
}

/// Configuration that does not tell of other members: of those that come, the others have to know.
fn is_for_the_same_members(object: &Object, observed: &Observed) -> bool {
    let members = |it: &Value| it.get("data").and_then(|data| data.get(MEMBERS)).cloned();
    let is_config = object.key.kind == Kind::ConfigMap && object.key.name == names::REDIS_CONFIG;
    let seen = observed.by_key(&object.key).filter(|it| is_config && !it.is_terminating());
    seen.is_some_and(|seen| members(&seen.body) == members(&object.body))
}

#[cfg(test)]
mod tests;
