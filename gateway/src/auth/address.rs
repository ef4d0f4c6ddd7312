//! Log-ins that failed, by the address that they came from: whoever tries one password with many names is stopped too.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use axum::http::{Extensions, HeaderMap, HeaderName, request::Parts};
use ipnet::IpNet;
use quick_cache::sync::Cache;

use crate::problem::{Code, Problem};

/// How long failures count.
const WINDOW: Duration = Duration::from_mins(5);
/// Addresses that are remembered: those that failed last.
const REMEMBERED: usize = 50_000;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Failures within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failures {
    since: Instant,
    count: u32,
}

/// Failed log-ins by address, in this process.
pub(crate) struct Addresses {
    failures: Cache<IpAddr, Failures>,
    /// 0: any number.
    allowed: u32,
    /// Proxies whose header says whom they speak for.
    trusted: Vec<IpNet>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Addresses").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Addresses {
    pub(crate) fn new(allowed: u32, trusted: Vec<IpNet>) -> Self {
        Self { failures: Cache::new(REMEMBERED), allowed, trusted }
    }

    /// Whether a request comes from a proxy whose word counts.
    pub(crate) fn trusts(&self, extensions: &Extensions) -> bool {
        let peer = extensions.get::<Peer>();
        peer.is_some_and(|Peer(peer)| self.trusted.iter().any(|network| network.contains(peer)))
    }

    /// Where a request comes from, as far as that can be known.
    pub(crate) fn of(&self, parts: &Parts) -> Option<IpAddr> {
        let Peer(peer) = *parts.extensions.get::<Peer>()?;
        Some(network(client(peer, &parts.headers, &self.trusted)))
    }

    /// Refuses an attempt from where too many have failed.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(known) = address.and_then(|address| self.failures.get(&address)) else { return Ok(()) };
        let left = WINDOW.saturating_sub(known.since.elapsed());
        if self.allowed == 0 || known.count < self.allowed || left.is_zero() {
            return Ok(());
        }
        let seconds = left.as_secs() + 1;
        let detail = format!("too many log-ins from this address have failed: wait {seconds} s");
        Err(Problem::new(Code::TooManyAttempts, detail).retry_after(seconds))
    }

    /// A log-in has failed.
    pub(crate) fn failed(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let now = Instant::now();
        let known = self.failures.get(&address).filter(|known| known.since.elapsed() < WINDOW);
        let known = known.unwrap_or(Failures { since: now, count: 0 });
        self.failures.insert(address, Failures { count: known.count.saturating_add(1), ..known });
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
        let addresses = Addresses::new(3, Vec::new());
        let (one, other) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        for _ in 0..3 {
            assert!(addresses.check(one).is_ok());
            addresses.failed(one);
        }
        assert_eq!(addresses.check(one).unwrap_err().code, Code::TooManyAttempts);
        assert!(addresses.check(other).is_ok() && addresses.check(None).is_ok());
        let unbounded = Addresses::new(0, Vec::new());
        (0..10).for_each(|_| unbounded.failed(one));
        assert!(unbounded.check(one).is_ok());
    }
}
