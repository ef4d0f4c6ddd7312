//! How a tenant's Redis is reached.

use std::time::Duration;

use keystead_route::{Durability, Endpoint, SecretText, Tls};
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, TlsCertificates,
    io::tcp::TcpSettings,
};

use crate::{error::Error, observe::Observer};

/// How long what was sent may stay without even the network's confirmation. Then the connection is given up: the kernel would
/// try again ever more seldom, and go on for many seconds after the network is back.
const UNHEARD: Duration = Duration::from_secs(2);

const NO_AUTHORITY: &str = "tls.ca holds no certificate that can be read";

/// How to reach a tenant's Redis, and how long to wait.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub endpoint: Endpoint,
    /// ACL user; none for a Redis without users.
    pub username: Option<String>,
    pub password: Option<SecretText>,
    /// How Redis and Sentinels are known that are reached by TLS; none, as by default: they are reached without.
    pub tls: Option<Tls>,
    /// How long a new connection may take; 1 s by default.
    pub connect_timeout: Duration,
    /// How long an answer may take; 500 ms by default.
    pub response_timeout: Duration,
    /// The same for writes where there are several Redis: a primary that hands over holds them up. 3 s by default.
    pub write_timeout: Duration,
    /// How long what was not executed is tried again; by default 3 s where there are several Redis, 5 s in a
    /// cluster, and else not at all: of a single one it is not known whether it will come back.
    pub hold: Duration,
    /// When a write is acknowledged. With a single Redis `Replicated` is as `Async`.
    pub durability: Durability,
    /// Who is told of what happens where there are several Redis.
    pub observer: Observer,
    /// Room for entries that are kept in this process, in bytes; 0: none are kept.
    pub cache_bytes: u64,
    /// How many threads have a connection of their own, see [`enter_lane`](crate::enter_lane); 1 by default.
    pub lanes: usize,
}

impl ConnectOptions {
    pub fn new(endpoint: Endpoint, username: Option<String>, password: Option<SecretText>) -> Self {
        let hold = match endpoint {
            Endpoint::Standalone { .. } => Duration::ZERO,
            Endpoint::Replicated { .. } => Duration::from_secs(3),
            // A cluster's members elect a primary a second later than Sentinels do.
            Endpoint::Cluster { .. } => Duration::from_secs(5),
        };
        Self {
            endpoint,
            username,
            password,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            write_timeout: Duration::from_secs(3),
            hold,
            durability: Durability::Async,
            observer: Observer::default(),
            cache_bytes: 0,
            lanes: 1,
        }
    }

    /// A client library's view of these options, for the Redis or the Sentinel at this address.
    pub(crate) fn client_of(&self, address: &str) -> Result<Client, Error> {
        let wrong = || Error::Refused(format!("the address {address:?} is not host:port"));
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().map_err(|_| wrong())?;
        // RESP3: only there a lost connection is noticed before the next command.
        let mut settings =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.expose());
        }
        let address = match &self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let info = address
            .into_connection_info()
            .map_err(|_| wrong())?
            .set_tcp_settings(TcpSettings::default().set_user_timeout(UNHEARD))
            .set_redis_settings(settings);
        let Some(tls) = &self.tls else { return Client::open(info).map_err(|_| wrong()) };
        let authorities = TlsCertificates { client_tls: None, root_cert: Some(tls.ca.clone().into_bytes()) };
        // With none to trust, every connection would be refused, and nobody would know why.
        if !tls.ca.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Error::Refused(NO_AUTHORITY.into()));
        }
        Client::build_with_tls(info, authorities).map_err(|_| Error::Refused(NO_AUTHORITY.into()))
    }
}
