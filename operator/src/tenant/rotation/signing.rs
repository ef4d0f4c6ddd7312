//! Replaces the key that signs tokens while tokens are in use. Pure.
//!
//! First a next one only verifies; when every gateway knows it, it signs, and the one before only verifies; when all that was
//! signed with that has expired, it ends. What is waited for counts from when the gateways were told, which is noted in
//! the Secret: an operator that dies at any moment, and comes back at any later one, cuts nobody off.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use keystead_route::{Algorithm, TenantName};
use serde_json::{Value, json};

use super::{Stage, has_passed};
use crate::tenant::credentials::{
    Contents, NoRandomness, generate,
    signing::{ALGORITHMS, Place, at, name},
};

/// Annotation of the Tenant: another value asks for another key.
pub const REQUEST_ANNOTATION: &str = "keystead.io/rotate-signing-keys";
/// Annotations of the Secret: the request that was carried out last, when a key last took the place of another, and since
/// when gateways have been told of the keys as they are.
pub const CARRIED_OUT_ANNOTATION: &str = "keystead.io/signing-keys-rotated-for";
pub const SINCE_ANNOTATION: &str = "keystead.io/signing-keys-rotated-at";
pub const TOLD_ANNOTATION: &str = "keystead.io/signing-keys-told-at";

/// After this time every gateway has taken up what it was told.
const TO_LEARN: Duration = Duration::from_secs(30);
/// How much longer than a token lives a key verifies that no longer signs.
const TO_EXPIRE: Duration = Duration::from_mins(1);
/// The longest that is waited without a look.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The same, where a step is due and could not be taken.
const BLOCKED: Duration = Duration::from_secs(5);

/// One step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Puts the next key in.
    Begin,
    /// Notes that gateways have been told of the keys as they are.
    Told,
    /// Puts the next key in the place of the one before.
    Switch,
    /// Lets go of the one before.
    End,
}

/// Who makes the keys. Shows none.
#[derive(Clone, Copy)]
pub enum Keeper<'a> {
    Operator,
    /// Somebody else, who has this one; none: it cannot be read now.
    Other(Option<&'a str>),
}

/// What the next step follows from. Shows no key.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    pub contents: &'a Contents,
    /// Of the key that is to sign.
    pub signing: Algorithm,
    pub keeper: Keeper<'a>,
    /// Of the Tenant, see [`REQUEST_ANNOTATION`].
    pub request: Option<&'a str>,
    /// Of the Secret.
    pub carried_out: Option<&'a str>,
    /// When a key last took the place of another, or was made.
    pub since: Option<Timestamp>,
    /// `spec.auth.rotateAfter`.
    pub rotate_after: Option<Duration>,
    /// Since when gateways have been told of the keys as they are.
    pub told: Option<Timestamp>,
    /// `spec.auth.accessTokenTtl`.
    pub token_life: Duration,
    pub now: Timestamp,
}

impl std::fmt::Debug for Keeper<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Operator => "Operator",
            Self::Other(_) => "Other",
        })
    }
}

impl std::fmt::Debug for Situation<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Situation").field("stage", &stage(self.contents)).finish_non_exhaustive()
    }
}

pub fn stage(contents: &Contents) -> Stage {
    let has = |place| at(contents, place).next().is_some();
    match (has(Place::Next), has(Place::Former)) {
        (true, _) => Stage::Spreading,
        (false, true) => Stage::Settling,
        (false, false) => Stage::Idle,
    }
}

/// Whether this is the step that the Secret is at.
pub fn fits(change: Change, contents: &Contents) -> bool {
    match (change, stage(contents)) {
        (Change::Begin, stage) => stage == Stage::Idle,
        (Change::Told, stage) => stage != Stage::Idle,
        (Change::Switch, stage) => stage == Stage::Spreading,
        (Change::End, stage) => stage == Stage::Settling,
    }
}

/// The step that may be taken now, where the gateways' route has the keys as they are.
pub fn next(situation: &Situation<'_>) -> Option<Change> {
    let change = match stage(situation.contents) {
        Stage::Idle => return is_asked_for(situation).then_some(Change::Begin),
        _ if situation.told.is_none() => return Some(Change::Told),
        Stage::Spreading => Change::Switch,
        Stage::Settling => Change::End,
    };
    let (since, time) = due(situation)?;
    has_passed(since, time, situation.now).then_some(change)
}

/// When to look whether the next step may be taken.
pub fn look_again(situation: &Situation<'_>) -> Option<Duration> {
    let (since, time) = due(situation)?;
    let passed = situation.now.as_second().saturating_sub(since.as_second());
    let left = time.saturating_sub(Duration::from_secs(u64::try_from(passed).unwrap_or_default()));
    // None is left where something else has to be done first.
    let left = if left.is_zero() { BLOCKED } else { left };
    Some(left.min(LONGEST_WAIT))
}

/// The time that the next step waits for, and from when on.
fn due(situation: &Situation<'_>) -> Option<(Timestamp, Duration)> {
    match stage(situation.contents) {
        Stage::Idle => Some((situation.since?, situation.rotate_after?)),
        Stage::Spreading => Some((situation.told?, TO_LEARN)),
        Stage::Settling => Some((situation.told?, situation.token_life.saturating_add(TO_EXPIRE))),
    }
}

fn is_asked_for(situation: &Situation<'_>) -> bool {
    let active = situation.contents.get(name(situation.signing, Place::Active));
    match situation.keeper {
        // Whoever keeps the key replaces it.
        Keeper::Other(key) => key.is_some_and(|key| active.is_none_or(|active| active != key)),
        Keeper::Operator => {
            let request = situation.request.filter(|it| !it.is_empty());
            let by_hand = request.is_some_and(|it| situation.carried_out != Some(it));
            let by_age = due(situation).is_some_and(|(since, time)| has_passed(since, time, situation.now));
            active.is_none() || by_hand || by_age
        }
    }
}

/// What a step changes in the Secret: texts that are put in, and none for those that go. `key` is the one that somebody else
/// keeps.
pub fn patch(
    change: Change,
    tenant: &TenantName,
    contents: &Contents,
    signing: Algorithm,
    key: Option<&str>,
) -> Result<BTreeMap<String, Option<String>>, NoRandomness> {
    let mut patch = BTreeMap::new();
    let mut put = |algorithm, place, text| patch.insert(name(algorithm, place).to_owned(), text);
    match change {
        Change::Begin => {
            let made = || generate(tenant, name(signing, Place::Active));
            put(signing, Place::Next, Some(key.map_or_else(made, |key| Ok(key.to_owned()))?));
        }
        Change::Told => {}
        Change::Switch => {
            for (algorithm, text) in at(contents, Place::Active) {
                put(algorithm, Place::Former, Some(text.to_owned()));
                put(algorithm, Place::Active, None);
            }
            for (algorithm, text) in at(contents, Place::Next) {
                put(algorithm, Place::Active, Some(text.to_owned()));
                put(algorithm, Place::Next, None);
            }
        }
        Change::End => {
            let is_former = |algorithm: &Algorithm| contents.contains_key(name(*algorithm, Place::Former));
            for algorithm in ALGORITHMS.into_iter().filter(is_former) {
                put(algorithm, Place::Former, None);
            }
        }
    }
    Ok(patch)
}

/// What a step changes in the annotations of the Secret; null for those that go.
pub fn annotations(change: Change, request: Option<&str>, now: Timestamp) -> Value {
    match change {
        Change::Begin => json!({ CARRIED_OUT_ANNOTATION: request, TOLD_ANNOTATION: null }),
        Change::Told => json!({ TOLD_ANNOTATION: now.to_string() }),
        Change::Switch => json!({ SINCE_ANNOTATION: now.to_string(), TOLD_ANNOTATION: null }),
        Change::End => json!({ TOLD_ANNOTATION: null }),
    }
}

#[cfg(test)]
mod tests;
