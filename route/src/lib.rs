//! The route of a tenant: everything a gateway needs to serve it, compiled by the operator into one JSON document.
//!
//! The operator writes it to the key [`SECRET_KEY`] of the Secret `route-<tenant>` in the gateway's namespace; the
//! gateway reads that Secret, or the file `<tenant>.json` of the folder given by `--routes`. Neither side imports the
//! other's world: this crate knows no Kubernetes, no HTTP and no Redis.

mod api_key;
mod hex;
mod name;
mod schedule;
mod secret;
mod webhook;

use serde::{Deserialize, Serialize};

pub use api_key::{ADMIN_KEY_ID, ApiKeyText};
pub use hex::hex;
pub use name::{InvalidTenantName, TenantName};
pub use schedule::{Cron, InvalidCron, Schedule};
pub use secret::SecretText;
pub use webhook::{
    InvalidWebhookUrl, PUBLIC_IPV4, PUBLIC_IPV6, Permit, Refusal, WebhookTarget, WebhookUrl, Webhooks,
};

/// The version of the format that this crate reads and writes.
pub const FORMAT: u32 = 1;
/// Label that marks a Secret as a route; its value is `true`.
pub const ROUTE_LABEL: &str = "keystead.io/route";
/// Label that carries the tenant's name on every object made for it.
pub const TENANT_LABEL: &str = "keystead.io/tenant";
/// Kubernetes type of a route Secret.
pub const SECRET_TYPE: &str = "keystead.io/route";
/// The key of a route Secret under which the document is.
pub const SECRET_KEY: &str = "route.json";

/// Label and its value by which the operator watches what is a tenant's.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "keystead-operator");

/// The name of what a gateway makes beside the routes where somebody wants a tenant that sleeps. `is_proven`: who wants it has
/// shown that they may; of others only the tenant's Redis can tell.
pub fn call_name(tenant: &TenantName, is_proven: bool) -> String {
    format!("{}-{tenant}", if is_proven { "wake" } else { "knock" })
}

/// The name of the Secret that carries a tenant's route.
pub fn secret_name(tenant: &TenantName) -> String {
    format!("route-{tenant}")
}

/// All that a gateway needs to serve one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Always [`FORMAT`]; a gateway refuses a document of a format it does not know.
    pub format: u32,
    pub tenant: TenantName,
    /// `spec.suspend`: every request is answered 403 `tenant_suspended`.
    #[serde(default)]
    pub suspended: bool,
    pub redis: Redis,
    pub limits: Limits,
    pub auth: Auth,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// None: what is done is not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// None: values never were encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// The tenant's worker is its own: jobs of any kind are taken.
    #[serde(default, skip_serializing_if = "is_false")]
    pub own_worker: bool,
    /// Where its webhooks may go.
    #[serde(default, skip_serializing_if = "Webhooks::is_empty")]
    pub webhooks: Webhooks,
    /// None: the tenant never sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hibernation: Option<Hibernation>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Where the tenant's Redis is and who the gateway is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    pub endpoint: Endpoint,
    /// ACL user of the gateway; absent only for a local Redis without users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretText>,
    /// When a write is acknowledged.
    #[serde(default, skip_serializing_if = "Durability::is_async")]
    pub durability: Durability,
    /// Who answers reads that do not say it themselves.
    #[serde(default, skip_serializing_if = "Reads::is_primary")]
    pub reads: Reads,
    /// It is being restarted on purpose and soon back: requests wait for it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restarts: bool,
    /// None: what is sent is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl Redis {
    /// Whether it is the same one, reached in the same way; how it is used, and that it is just being restarted, does not count.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let Self { endpoint, username, password, durability, tls, reads: _, restarts: _ } = self;
        *endpoint == other.endpoint
            && *username == other.username
            && *password == other.password
            && *durability == other.durability
            && *tls == other.tls
    }
}

/// How a Redis is known that is reached by TLS: its certificate names the address at which it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities of which one has signed it, as PEM. There are two while one takes the other's place.
    pub ca: String,
}

/// How to reach the Redis of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "topology", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Endpoint {
    /// One Redis at `host:port`. The operator gives the address of a Service, so that no DNS look-up is in the path.
    Standalone { address: String },
    /// Several, of which the Sentinels name the one that takes the writes. All addresses are `host:port`.
    Replicated {
        /// The name by which the Sentinels know the primary.
        primary_name: String,
        /// Every Sentinel: one beside each member.
        sentinels: Vec<String>,
        /// Every Redis that may be the primary.
        members: Vec<String>,
        /// Redis that only answer reads, behind one address; none: the members that are not the primary do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        readers: Option<String>,
    },
    /// A Redis Cluster: each key is in one of the shards, and the members say in which.
    Cluster {
        /// The Redis of each shard, any of which may be its primary; all addresses are `host:port`.
        shards: Vec<Vec<String>>,
    },
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// As soon as the primary has it.
    #[default]
    Async,
    /// When most of the members have it (`WAIT`).
    Replicated,
    /// When it is on the disk of the primary, and of most of the members where there are several (`WAITAOF`).
    Fsync,
}

impl Durability {
    /// As it is when the route says nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_async(&self) -> bool {
        *self == Self::Async
    }
}

/// Who answers reads of entries and lists that do not say it themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reads {
    /// The primary, so that what was acknowledged is seen.
    #[default]
    Primary,
    /// A replica where one is quick, even if it is a little behind.
    Replica,
}

impl Reads {
    /// As it is when the route says nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_primary(&self) -> bool {
        *self == Self::Primary
    }
}

/// What the gateway enforces on each request of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Longest key, in bytes of UTF-8, 1–256.
    pub max_key_bytes: u32,
    /// Largest value, in bytes.
    pub max_value_bytes: u64,
    /// Time to live, in seconds, of an entry written without one; 0: never expires.
    pub default_ttl_seconds: u64,
    /// Keys that the tenant may have; none: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<u64>,
    /// Requests a second that one gateway answers; none: as many as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests at once after a pause; none: as `requests_per_second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Of them each user may have so many a second; none: as many as the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_requests_per_second: Option<u32>,
    /// Requests of a user at once after a pause; none: as `user_requests_per_second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_burst: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_key_bytes: 256,
            max_value_bytes: 2 * 1024 * 1024,
            default_ttl_seconds: 3600,
            max_keys: None,
            requests_per_second: None,
            burst: None,
            user_requests_per_second: None,
            user_burst: None,
        }
    }
}

/// Entries that a gateway keeps in its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cache {
    /// In each gateway.
    pub max_bytes: u64,
}

/// Of a tenant that sleeps where nobody uses it: gateways note when it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hibernation {
    /// It sleeps, or is about to: its Redis is not to be asked. Who wants something has it woken, and waits until the route
    /// says that it is awake.
    pub asleep: bool,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audit {
    /// Entries that are kept.
    pub max_entries: u64,
}

/// The keys of values at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Encryption {
    /// Every key with which a value may have been written.
    pub keys: Vec<DataKey>,
    /// `name` of the key that values are written with; none: they are written as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_key: Option<String>,
}

/// A key of values at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataKey {
    /// As in the tenant's Secret: `encryption-key-<version>`.
    pub name: String,
    /// 32 bytes in base64 (standard alphabet).
    pub secret: SecretText,
}

/// How the tenant's users are authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    pub sign_up: SignUp,
    /// Life of an access token, in seconds.
    pub access_token_ttl_seconds: u64,
    /// Life of a refresh token, in seconds.
    pub refresh_token_ttl_seconds: u64,
    /// The keys that verify tokens; the one named by `active_key` signs.
    pub keys: Vec<SigningKey>,
    /// `id` of the key that signs new tokens.
    pub active_key: String,
    /// SHA-256 of the API key [`ADMIN_KEY_ID`], in hexadecimal digits; none: there is no such key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_key_sha256: Option<String>,
    /// Others whose tokens are accepted, each `issuer` once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Issuer>,
}

/// Somebody else who signs tokens for the tenant's users, found by OpenID Connect Discovery 1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// An https URL without query and fragment; a token's `iss` must equal it byte by byte.
    pub issuer: String,
    /// A token's `aud` must have one of these.
    pub audiences: Vec<String>,
    /// Name of the claim with the scopes.
    pub scopes_claim: String,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignUp {
    /// Nobody through the API: `POST /auth/register` answers 403.
    #[default]
    Closed,
    /// Anyone who can reach the gateway.
    Open,
}

/// A signing key of the tenant. The `kid` of its tokens is `<tenant>.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningKey {
    /// Lower-case letters and digits; never reused for another key.
    pub id: String,
    /// Fixed per key: never taken from a token.
    pub algorithm: Algorithm,
    /// `EdDSA`: the Ed25519 private key as PKCS#8 PEM. `HS256`: the secret as base64 (standard alphabet), ≥32 bytes.
    pub secret: SecretText,
}

/// JWS algorithm of a signing key (RFC 8037, RFC 7518).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    #[default]
    EdDSA,
    HS256,
}

/// Why a route document was refused.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("the route is not a valid document: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(
        "the route has format {found}, this gateway reads format {FORMAT}: upgrade the older of operator and gateway"
    )]
    UnknownFormat { found: u32 },
    #[error("the route names no key {0:?} among auth.keys: auth.activeKey must be the id of one of them")]
    NoActiveKey(String),
}

impl Route {
    /// Reads and checks a document.
    pub fn from_json(document: &[u8]) -> Result<Self, RouteError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(document)?;
        if head.format != FORMAT {
            return Err(RouteError::UnknownFormat { found: head.format });
        }
        let route: Self = serde_json::from_slice(document)?;
        if !route.auth.keys.iter().any(|key| key.id == route.auth.active_key) {
            return Err(RouteError::NoActiveKey(route.auth.active_key));
        }
        Ok(route)
    }

    /// The document, the same bytes for the same route.
    pub fn to_json(&self) -> String {
        // Every field is a string, a number or a list of such: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            format: FORMAT,
            tenant: "acme".parse().unwrap(),
            suspended: false,
            redis: Redis {
                endpoint: Endpoint::Standalone { address: "10.96.3.4:6379".into() },
                username: Some("gateway".into()),
                password: Some("s3cret-word".into()),
                durability: Durability::Replicated,
                reads: Reads::Replica,
                restarts: false,
                tls: Some(Tls { ca: "-----BEGIN CERTIFICATE-----\n".into() }),
            },
            limits: Limits::default(),
            auth: Auth {
                sign_up: SignUp::Open,
                access_token_ttl_seconds: 1800,
                refresh_token_ttl_seconds: 604_800,
                keys: vec![SigningKey {
                    id: "k1".into(),
                    algorithm: Algorithm::HS256,
                    secret: "c2lnbmluZw==".into(),
                }],
                active_key: "k1".into(),
                admin_key_sha256: None,
                issuers: vec![Issuer {
                    issuer: "https://login.example.com/realms/shop".into(),
                    audiences: vec!["keystead".into()],
                    scopes_claim: "scope".into(),
                }],
            },
            cache: None,
            audit: Some(Audit { max_entries: 1000 }),
            encryption: Some(Encryption {
                keys: vec![DataKey { name: "encryption-key-1".into(), secret: "ZGF0YSBrZXk=".into() }],
                active_key: Some("encryption-key-1".into()),
            }),
            own_worker: true,
            webhooks: Webhooks(vec![WebhookTarget {
                host: "hooks.example.com".into(),
                ports: vec![443],
                allow_http: false,
                addresses: Vec::new(),
            }]),
            hibernation: Some(Hibernation { asleep: true }),
        }
    }

    #[test]
    fn a_route_survives_the_way_through_its_document() {
        assert_eq!(Route::from_json(route().to_json().as_bytes()).unwrap(), route());
    }

    #[test]
    fn no_call_is_taken_for_a_route_or_for_one_with_another_proof() {
        let tenant = "acme".parse().unwrap();
        assert_eq!([call_name(&tenant, true), call_name(&tenant, false)], ["wake-acme", "knock-acme"]);
    }

    #[test]
    fn a_route_of_a_tenant_that_never_sleeps_is_as_it_was_before_there_was_sleep() {
        let document = Route { hibernation: None, ..route() }.to_json();
        assert!(!document.contains("hibernation"), "{document}");
        assert_eq!(Route::from_json(document.as_bytes()).unwrap().hibernation, None);
        assert!(route().to_json().contains(r#""hibernation":{"asleep":true}"#));
    }

    #[test]
    fn a_route_whose_reads_go_to_the_primary_is_as_it_was_before_they_could_go_elsewhere() {
        let with = |reads| Route { redis: Redis { reads, ..route().redis }, ..route() }.to_json();
        let document = with(Reads::Primary);
        assert!(!document.contains("reads"), "{document}");
        assert_eq!(Route::from_json(document.as_bytes()).unwrap().redis.reads, Reads::Primary);
        assert!(with(Reads::Replica).contains(r#""reads":"Replica""#));
    }

    #[test]
    fn a_redis_that_is_not_being_restarted_is_told_of_as_ever() {
        let with = |restarts| Route { redis: Redis { restarts, ..route().redis }, ..route() }.to_json();
        assert!(!with(false).contains("restarts") && with(true).contains(r#""restarts":true"#));
        assert!(Route::from_json(with(true).as_bytes()).unwrap().redis.restarts);
    }

    #[test]
    fn limits_that_are_not_set_are_not_in_the_document() {
        let document = serde_json::to_string(&Limits::default()).unwrap();
        assert_eq!(document, r#"{"maxKeyBytes":256,"maxValueBytes":2097152,"defaultTtlSeconds":3600}"#);
        let limits = Limits { user_requests_per_second: Some(10), user_burst: Some(20), ..Limits::default() };
        let document = serde_json::to_string(&limits).unwrap();
        assert!(document.ends_with(r#","userRequestsPerSecond":10,"userBurst":20}"#), "{document}");
    }

    #[test]
    fn the_shards_of_a_cluster_are_lists_of_their_members() {
        let shards =
            vec![vec!["10.3.2.1:6379".to_owned(), "10.3.2.2:6379".into()], vec!["10.3.2.3:6379".into()]];
        let document =
            r#"{"topology":"Cluster","shards":[["10.3.2.1:6379","10.3.2.2:6379"],["10.3.2.3:6379"]]}"#;
        let endpoint = Endpoint::Cluster { shards };
        assert_eq!(serde_json::to_string(&endpoint).unwrap(), document);
        assert_eq!(serde_json::from_str::<Endpoint>(document).unwrap(), endpoint);
    }

    #[test]
    fn a_route_shows_no_secret_when_it_is_printed() {
        let printed = format!("{:?}", route());
        assert!(
            !["s3cret-word", "c2lnbmluZw", "ZGF0YSBrZXk"].iter().any(|secret| printed.contains(secret)),
            "{printed}"
        );
    }

    #[test]
    fn a_newer_format_is_refused_with_what_to_do_even_if_its_fields_are_unknown() {
        let error = Route::from_json(br#"{"format": 2, "novelty": true}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the route has format 2, this gateway reads format 1: upgrade the older of operator and gateway"
        );
    }

    #[test]
    fn a_route_without_its_active_key_is_refused() {
        let mut wrong = route();
        wrong.auth.active_key = "k9".into();
        assert!(matches!(Route::from_json(wrong.to_json().as_bytes()), Err(RouteError::NoActiveKey(_))));
    }
}
