//! Where jobs of the kind `webhook` may go: their URLs, the targets that a Tenant names, and the addresses that are public.
//! Decides only: it asks no name server, and connects to nobody.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// Addresses of the internet, and what of them leads elsewhere: to the own machine, private networks, other protocols, groups
/// of receivers, nobody (<https://www.iana.org/assignments/iana-ipv4-special-registry/>), or to a cloud's own services.
pub const PUBLIC_IPV4: (IpNet, [IpNet; 16]) = (
    v4([0, 0, 0, 0], 0),
    [
        v4([0, 0, 0, 0], 8),
        v4([10, 0, 0, 0], 8),
        v4([100, 64, 0, 0], 10),
        v4([127, 0, 0, 0], 8),
        // Also the metadata of most clouds, 169.254.169.254.
        v4([169, 254, 0, 0], 16),
        // Azure's services for its machines.
        v4([168, 63, 129, 16], 32),
        v4([172, 16, 0, 0], 12),
        v4([192, 0, 0, 0], 24),
        v4([192, 0, 2, 0], 24),
        v4([192, 88, 99, 0], 24),
        v4([192, 168, 0, 0], 16),
        v4([198, 18, 0, 0], 15),
        v4([198, 51, 100, 0], 24),
        v4([203, 0, 113, 0], 24),
        v4([224, 0, 0, 0], 4),
        v4([240, 0, 0, 0], 4),
    ],
);

/// The same of IPv6 (<https://www.iana.org/assignments/iana-ipv6-special-registry/>): what is outside of `2000::/3`, such as
/// link-local and unique-local addresses and those that stand for one of IPv4, is not public.
pub const PUBLIC_IPV6: (IpNet, [IpNet; 4]) = (
    v6([0x2000, 0], 3),
    [
        // Protocols, among them Teredo, which leads to an address of IPv4.
        v6([0x2001, 0], 23),
        v6([0x2001, 0xdb8], 32),
        // 6to4: it leads to an address of IPv4.
        v6([0x2002, 0], 16),
        v6([0x3fff, 0], 20),
    ],
);

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6([a, b]: [u16; 2], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length))
}

fn is_public(address: IpAddr) -> bool {
    let within = |(all, except): (&IpNet, &[IpNet])| {
        all.contains(&address) && !except.iter().any(|other| other.contains(&address))
    };
    within((&PUBLIC_IPV4.0, &PUBLIC_IPV4.1)) || within((&PUBLIC_IPV6.0, &PUBLIC_IPV6.1))
}

/// A target that a Tenant names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookTarget {
    /// A name in lower case, `*.` and a name for all below it, or `*` for any.
    pub host: String,
    pub ports: Vec<u16>,
    /// Also without TLS.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub allow_http: bool,
    /// Where the host may lead; empty: to public addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
}

impl WebhookTarget {
    fn is_host_of(&self, url: &WebhookUrl) -> bool {
        match self.host.strip_prefix('*') {
            None => self.host == url.host,
            // `.example.com` of `*.example.com`, nothing of `*`.
            Some(end) => url.host.len() > end.len() && url.host.ends_with(end),
        }
    }

    fn is_target_of(&self, url: &WebhookUrl) -> bool {
        self.is_host_of(url) && self.ports.contains(&url.port) && (url.is_https || self.allow_http)
    }

    fn may_lead_to(&self, address: IpAddr) -> bool {
        if self.addresses.is_empty() {
            is_public(address)
        } else {
            self.addresses.iter().any(|allowed| allowed.contains(&address))
        }
    }
}

/// All targets that a Tenant names; none: it sends no webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Webhooks(pub Vec<WebhookTarget>);

/// Why a URL is no target of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "this tenant sends no webhooks: the Tenant's spec.worker.webhooks names the hosts that it may send to"
    )]
    None,
    #[error(
        "{0} is no target of this tenant: name its host, port and scheme in the Tenant's spec.worker.webhooks"
    )]
    NotNamed(String),
    #[error(
        "{0} leads to no address that is allowed: public ones are, others where the Tenant's spec.worker.webhooks has them as `addresses` of the host"
    )]
    Address(String),
}

impl Webhooks {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The targets that a URL is one of. Where its host is an address, that is looked at too.
    pub fn permit<'a>(&'a self, url: &WebhookUrl) -> Result<Permit<'a>, Refusal> {
        if self.is_empty() {
            return Err(Refusal::None);
        }
        let permit = Permit(self.0.iter().filter(|target| target.is_target_of(url)).collect());
        if permit.0.is_empty() {
            return Err(Refusal::NotNamed(url.origin()));
        }
        match url.host.parse() {
            Ok(address) if !permit.may_lead_to(address) => Err(Refusal::Address(url.origin())),
            _ => Ok(permit),
        }
    }
}

impl FromStr for Webhooks {
    type Err = serde_json::Error;

    /// As in the route.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

/// The targets of a Tenant that a URL is one of.
#[derive(Clone, Debug)]
pub struct Permit<'a>(Vec<&'a WebhookTarget>);

impl Permit<'_> {
    /// Whether the host may lead to this address.
    pub fn may_lead_to(&self, address: IpAddr) -> bool {
        self.0.iter().any(|target| target.may_lead_to(address))
    }
}

/// Where a webhook goes. One reading of the text decides, here as where it is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl {
    pub is_https: bool,
    /// A name in lower case, or an address, of IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// With the query; begins with `/`.
    pub path: String,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "url: an https or http URL of at most {MAX_URL_BYTES} bytes without user and fragment, such as https://hooks.example.com/orders"
)]
pub struct InvalidWebhookUrl;

impl WebhookUrl {
    /// Host and port, the port where it is not the scheme's own: as in the header `Host`.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.is_https) { host } else { format!("{host}:{}", self.port) }
    }

    /// Without the path, which may hold a secret.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.authority())
    }
}

const fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

impl FromStr for WebhookUrl {
    type Err = InvalidWebhookUrl;

    fn from_str(text: &str) -> Result<Self, InvalidWebhookUrl> {
        parse(text).ok_or(InvalidWebhookUrl)
    }
}

/// RFC 3986, less what is of no use here: what another reader might take otherwise is refused.
fn parse(text: &str) -> Option<WebhookUrl> {
    if text.len() > MAX_URL_BYTES {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let is_https = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
    } else {
        let (name, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        (name.to_ascii_lowercase(), port)
    };
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_plain)
    };
    let is_name = host.len() <= 253 && host.split('.').all(is_label);
    if !is_name && !authority.starts_with('[') {
        return None;
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port(is_https),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0)?
        }
        _ => return None,
    };
    let is_of_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&byte);
    if !path.bytes().all(is_of_path) {
        return None;
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some(WebhookUrl { is_https, host, port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str) -> WebhookTarget {
        WebhookTarget { host: host.into(), ports: vec![443], allow_http: false, addresses: Vec::new() }
    }

    fn url(text: &str) -> WebhookUrl {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_url_is_read_in_one_way_or_refused() {
        for (text, expected) in [
            ("https://Hooks.Example.com", (true, "hooks.example.com", 443, "/")),
            ("http://10.1.2.3:8080/a%20b?c=d&e", (false, "10.1.2.3", 8080, "/a%20b?c=d&e")),
            ("https://[2001:DB8::1]:8443?x", (true, "2001:db8::1", 8443, "/?x")),
        ] {
            let read = url(text);
            assert_eq!(
                (read.is_https, read.host.as_str(), read.port, read.path.as_str()),
                expected,
                "{text}"
            );
        }
        assert_eq!(url("https://[2001:db8::1]:8443/a").origin(), "https://[2001:db8::1]:8443");
        assert_eq!(
            (url("http://a:443/").origin(), url("https://a:443/").origin()),
            ("http://a:443".into(), "https://a".into())
        );
        for wrong in [
            "",
            "hooks.example.com",
            "ftp://a/",
            "HTTPS://a/",
            "https://",
            "https:///a",
            "https://ada@a/",
            "https://ada:word@a/",
            "https://a\\@b/",
            "https://a#b",
            "https://a/#b",
            "https://a/b c",
            "https://a/\r\nX: y",
            "https://a:/",
            "https://a:0/",
            "https://a:+1/",
            "https://a:65536/",
            "https://a..b/",
            "https://a./",
            "https://ä.example/",
            "https://[fe80::1%25eth0]/",
            "https://[::1/",
            "https://[a]/",
        ] {
            assert_eq!(wrong.parse::<WebhookUrl>(), Err(InvalidWebhookUrl), "{wrong}");
        }
        assert!(format!("https://a/{}", "b".repeat(MAX_URL_BYTES)).parse::<WebhookUrl>().is_err());
    }

    #[test]
    fn only_targets_that_are_named_with_their_port_and_scheme_are_permitted() {
        let mut plain = target("plain.example.com");
        (plain.ports, plain.allow_http) = (vec![80, 8080], true);
        let webhooks = Webhooks(vec![target("hooks.example.com"), target("*.example.org"), plain]);
        let refused = |text: &str| webhooks.permit(&url(text)).err();
        for permitted in [
            "https://hooks.example.com/a",
            "https://a.example.org",
            "https://a.b.example.org",
            "http://plain.example.com:8080/",
        ] {
            assert_eq!(refused(permitted), None, "{permitted}");
        }
        for named_otherwise in [
            "https://example.com/",
            "https://a.hooks.example.com/",
            "https://hooks.example.com:8443/",
            "http://hooks.example.com:443/",
            "https://example.org/",
            "https://badexample.org/",
            "https://plain.example.com/",
        ] {
            let origin = url(named_otherwise).origin();
            assert_eq!(refused(named_otherwise), Some(Refusal::NotNamed(origin)), "{named_otherwise}");
        }
        assert_eq!(Webhooks::default().permit(&url("https://a")).err(), Some(Refusal::None));
    }

    #[test]
    fn what_is_not_public_is_reached_only_where_it_is_named() {
        let any = Webhooks(vec![target("*")]);
        let permit = any.permit(&url("https://a")).unwrap();
        for public in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2001:200::1"]
        {
            assert!(permit.may_lead_to(public.parse().unwrap()), "{public}");
        }
        for elsewhere in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!permit.may_lead_to(elsewhere.parse().unwrap()), "{elsewhere}");
        }
        for literal in ["https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/"] {
            let refusal = Refusal::Address(url(literal).origin());
            assert_eq!(any.permit(&url(literal)).err(), Some(refusal), "{literal}");
        }

        let mut inside = target("till.internal");
        inside.addresses = vec!["10.20.0.0/16".parse().unwrap()];
        let both = Webhooks(vec![target("*"), inside]);
        let leads = |text: &str, to: &str| both.permit(&url(text)).unwrap().may_lead_to(to.parse().unwrap());
        assert!(leads("https://till.internal", "10.20.3.4") && leads("https://till.internal", "1.1.1.1"));
        assert!(!leads("https://till.internal", "10.21.0.1") && !leads("https://a", "10.20.3.4"));
    }

    #[test]
    fn targets_survive_the_way_through_their_document() {
        let text = r#"[{"host":"a","ports":[80],"allowHttp":true,"addresses":["10.0.0.0/8","fd00::/8"]},{"host":"*","ports":[443]}]"#;
        let webhooks: Webhooks = text.parse().unwrap();
        assert_eq!(serde_json::to_string(&webhooks).unwrap(), text);
    }
}
