//! Which step follows, from what the Secrets hold.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{
    Authority, CERTIFICATE, Certificate, Contents, Issued, KEY, Names, TRUSTED,
    issue::{NoCertificate, end, issue},
};

/// An authority of our own is replaced when it has no more than this left: longer than any certificate of it lasts.
const AUTHORITY_REST: Duration = Duration::from_hours(365 * 24);
/// The kubelet hands a changed Secret to the pods within two minutes, and one Sentinel after the other starts anew then.
const SPREADING: Duration = Duration::from_mins(3);

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Has the authority trusted beside those before it.
    Trust,
    /// Makes a certificate of the authority.
    Issue,
    /// Lets go of all authorities but the one.
    Forget,
}

/// What the next step follows from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Who is to sign.
    pub authority: &'a Authority,
    /// None where there is none that can be used.
    pub issued: Option<&'a Issued>,
    /// What a certificate has to name.
    pub names: &'a Names,
    /// When those that are trusted, or the certificate, last changed.
    pub changed: Option<Timestamp>,
    /// Whoever learns by being replaced has been: the worker.
    pub all_moved: bool,
    /// For how long both are valid, at least, when one takes the place of another.
    pub overlap: Duration,
    pub now: Timestamp,
}

/// Whether an authority of our own has to be made.
pub fn wants_authority(own: Option<&Authority>, now: Timestamp) -> bool {
    own.is_none_or(|own| seconds(now, own.certificate.until) <= whole(AUTHORITY_REST))
}

/// The step that may be taken now.
pub fn next(situation: &Situation<'_>) -> Option<Change> {
    let Situation { authority, names, now, .. } = *situation;
    let Some(issued) = situation.issued else { return Some(Change::Issue) };
    let certificate = &issued.certificate;
    if certificate.until <= now {
        // Nobody takes it any more, so nothing is lost by haste.
        return Some(Change::Issue);
    }
    if !issued.trusts(authority) {
        return Some(Change::Trust);
    }
    if !certificate.is_signed_by(&authority.certificate) {
        // One that cannot be moved, as a worker that never starts, must not cut off all others.
        let is_pressing = is_due(certificate, now, 10);
        return (is_pressing || is_known_to_all(situation)).then_some(Change::Issue);
    }
    if !certificate.covers(names) || (is_due(certificate, now, 3) && end(authority, now) > certificate.until)
    {
        return Some(Change::Issue);
    }
    (issued.trusted.len() > 1 && is_known_to_all(situation)).then_some(Change::Forget)
}

/// No more than this part of its time is left.
fn is_due(certificate: &Certificate, now: Timestamp, part: i64) -> bool {
    let life = seconds(certificate.from, certificate.until);
    seconds(now, certificate.until) <= life / part
}

fn is_known_to_all(situation: &Situation<'_>) -> bool {
    let wait = whole(situation.overlap.max(SPREADING));
    situation.all_moved && situation.changed.is_none_or(|since| seconds(since, situation.now) >= wait)
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second().saturating_sub(from.as_second())
}

fn whole(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// A step with all that it takes. Shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    pub change: Change,
    pub authority: Authority,
    pub names: Names,
    /// What the Secret holds before.
    pub contents: Contents,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.change)
    }
}

impl Order {
    /// What the Secret holds after it.
    pub fn carry_out(&self, now: Timestamp) -> Result<Contents, NoCertificate> {
        let mut after = self.contents.clone();
        let authority = self.authority.certificate.pem.clone();
        let trusted = after.get(TRUSTED).map(|text| Certificate::all(text)).unwrap_or_default();
        let is_trusted = trusted.contains(&self.authority.certificate);
        let before: String = trusted.into_iter().map(|it| it.pem).collect();
        let trusted = match self.change {
            Change::Forget => authority,
            Change::Trust | Change::Issue if is_trusted => before,
            Change::Trust | Change::Issue => before + &authority,
        };
        after.insert(TRUSTED.into(), trusted);
        if self.change == Change::Issue {
            let (certificate, key) = issue(&self.authority, &self.names, now)?;
            after.insert(CERTIFICATE.into(), certificate);
            after.insert(KEY.into(), key);
        }
        Ok(after)
    }
}

#[cfg(test)]
mod tests;
