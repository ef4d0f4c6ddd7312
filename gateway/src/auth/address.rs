//! Log-ins that failed and tenants that were asked for, by the address that they came from: whoever tries one password with
//! many names is stopped too.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use axum::http::{Extensions, HeaderMap, HeaderName, request::Parts};
use ipnet::IpNet;
use quick_cache::sync::Cache;

use crate::{
    finish::Noted,
    problem::{Code, Problem},
};

/// How long failures count.
const FAILURES_COUNT: Duration = Duration::from_mins(5);
/// How long sign-ups count.
const SIGN_UPS_COUNT: Duration = Duration::from_hours(1);
/// Addresses that are remembered: those that came last.
const REMEMBERED: usize = 50_000;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Events within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Events {
    since: Instant,
    count: u32,
}

/// What is counted of each address within a window.
struct Window {
    events: Cache<IpAddr, Events>,
    /// 0: any number.
    allowed: u32,
    length: Duration,
}

impl Window {
    fn new(allowed: u32, length: Duration) -> Self {
        Self { events: Cache::new(REMEMBERED), allowed, length }
    }

    /// Seconds until the address may come again; none: it may.
    fn wait(&self, address: Option<IpAddr>) -> Option<u64> {
        let known = self.events.get(&address?)?;
        let left = self.length.saturating_sub(known.since.elapsed());
        let is_free = self.allowed == 0 || known.count < self.allowed || left.is_zero();
        (!is_free).then(|| left.as_secs() + 1)
    }

    fn count(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let known = self.events.get(&address).filter(|known| known.since.elapsed() < self.length);
        let known = known.unwrap_or(Events { since: Instant::now(), count: 0 });
        self.events.insert(address, Events { count: known.count.saturating_add(1), ..known });
    }
}

/// What each address has done, in this process.
pub(crate) struct Addresses {
    failures: Window,
    sign_ups: Window,
    /// Proxies whose header says whom they speak for.
    trusted: Vec<IpNet>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Addresses")
            .field("failures_allowed", &self.failures.allowed)
            .finish_non_exhaustive()
    }
}

impl Addresses {
    /// With the failed log-ins and the sign-ups that one address is allowed; 0: any number.
    pub(crate) fn new(failures: u32, sign_ups: u32, trusted: Vec<IpNet>) -> Self {
        Self {
            failures: Window::new(failures, FAILURES_COUNT),
            sign_ups: Window::new(sign_ups, SIGN_UPS_COUNT),
            trusted,
        }
    }

    /// Whether a request comes from a proxy whose word counts.
    pub(crate) fn trusts(&self, extensions: &Extensions) -> bool {
        let peer = Noted::peer(extensions);
        peer.is_some_and(|peer| self.trusted.iter().any(|network| network.contains(&peer)))
    }

    /// Where a request comes from, as far as that can be known.
    pub(crate) fn of(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = Noted::peer(&parts.extensions)?;
        Some(network(client(peer, &parts.headers, &self.trusted)))
    }

    /// Refuses an attempt from where too many have failed.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(seconds) = self.failures.wait(address) else { return Ok(()) };
        let detail = format!("too many log-ins from this address have failed: wait {seconds} s");
        Err(Problem::new(Code::TooManyAttempts, detail).retry_after(seconds))
    }

    /// A log-in has failed.
    pub(crate) fn failed(&self, address: Option<IpAddr>) {
        self.failures.count(address);
    }

    /// Counts a sign-up, or refuses it where too many came.
    pub(crate) fn sign_up(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        if let Some(seconds) = self.sign_ups.wait(address) {
            let detail = format!("too many tenants were asked for from this address: wait {seconds} s");
            return Err(Problem::new(Code::TooManySignUps, detail).retry_after(seconds));
        }
        self.sign_ups.count(address);
        Ok(())
    }
}

/// The last address on the way that no trusted proxy has; each proxy appends whom it was asked by.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut last = peer;
    for hop in hops.into_iter().rev() {
        // What is no address was not written by a proxy that can be trusted.
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        last = address.to_canonical();
        if !is_trusted(&last) {
            break;
        }
    }
    last
}

/// Of IPv6 the part that a provider gives to one customer (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (FORWARDED_FOR, value.parse().unwrap())).collect()
    }

    #[test]
    fn only_a_trusted_proxy_says_whom_it_speaks_for() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("203.0.113.7", &["198.51.100.1"][..], "203.0.113.7"),
            ("10.1.2.3", &["198.51.100.1"], "198.51.100.1"),
            // The client has made the first up; the proxy has appended the second.
            ("10.1.2.3", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", &["1.1.1.1", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.1.2.3", &["nonsense, 10.9.9.9"], "10.9.9.9"),
            ("10.1.2.3", &[], "10.1.2.3"),
            ("fd00::1", &["2001:db8::5"], "2001:db8::5"),
        ] {
            let found = client(peer.parse().unwrap(), &headers(forwarded), &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn one_customer_has_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn so_many_may_fail_and_no_more() {
        let addresses = Addresses::new(3, 0, Vec::new());
        let (one, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        for _ in 0..3 {
            assert!(addresses.check(one).is_ok());
            addresses.failed(one);
        }
        assert_eq!(addresses.check(one).unwrap_err().code, Code::TooManyAttempts);
        assert!(addresses.check(other).is_ok() && addresses.check(None).is_ok());
        let unbounded = Addresses::new(0, 0, Vec::new());
        (0..10).for_each(|_| unbounded.failed(one));
        assert!(unbounded.check(one).is_ok());
    }

    #[test]
    fn so_many_tenants_may_be_asked_for_whatever_log_ins_did() {
        let addresses = Addresses::new(1, 2, Vec::new());
        let (one, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        (0..5).for_each(|_| addresses.failed(one));
        assert!(addresses.sign_up(one).is_ok() && addresses.sign_up(one).is_ok());
        assert_eq!(addresses.sign_up(one).unwrap_err().code, Code::TooManySignUps);
        assert!(addresses.sign_up(other).is_ok() && addresses.check(other).is_ok());
    }
}
