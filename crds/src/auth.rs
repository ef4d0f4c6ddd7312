//! `spec.auth`: how the tenant's users are authenticated.

use keystead_route::{Algorithm, Issuer, SignUp};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Accounts and tokens of the tenant's users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.accessTokenTtl.matches('^([0-9]{1,9}[hms])+$') || !self.refreshTokenTtl.matches('^([0-9]{1,9}[hms])+$') || duration(self.accessTokenTtl) <= duration(self.refreshTokenTtl)")
        .message("auth.accessTokenTtl is longer than auth.refreshTokenTtl: an access token is the shorter-lived of the two"),
    validation = Rule::new("!has(self.existingSecret) || !has(self.rotateAfter)")
        .message("auth.rotateAfter does not go with existingSecret: who keeps the signing key replaces it"),
)]
pub struct AuthSpec {
    /// Open: anyone who reaches the gateway can make an account. Closed: nobody can through the API.
    #[serde(default)]
    #[schemars(schema_with = "sign_up")]
    pub sign_up: SignUp,
    /// Life of an access token, 1m to 24h.
    #[serde(default = "access_token_ttl")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$') && duration(self) >= duration('1m') && duration(self) <= duration('24h')")
        .message("auth.accessTokenTtl is a duration of 1m to 24h, such as 30m or 1h30m"))]
    pub access_token_ttl: String,
    /// Life of a refresh token, 5m to 8760h.
    #[serde(default = "refresh_token_ttl")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$') && duration(self) >= duration('5m') && duration(self) <= duration('8760h')")
        .message("auth.refreshTokenTtl is a duration of 5m to 8760h, such as 168h"))]
    pub refresh_token_ttl: String,
    /// Algorithm of the key that signs new tokens. After a change, tokens signed before stay valid until they expire.
    #[serde(default)]
    pub signing: Signing,
    /// A Secret in the tenant's namespace in which somebody else keeps the key that signs tokens (External Secrets, Vault):
    /// signing-eddsa.pem, an Ed25519 private key as PKCS#8 PEM, or signing-hs256, base64 of at least 32 bytes, as signing says.
    /// When it changes, the new one is taken over; tokens signed before stay valid until they expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$') && !(self in ['credentials', 'redis-users', 'redis-app'])")
        .message("auth.existingSecret is the name of a Secret in the tenant's namespace, other than credentials, redis-users and redis-app, which the operator writes"))]
    #[schemars(length(max = 253))]
    pub existing_secret: Option<String>,
    /// Another signing key is made after this time, such as 2160h; never when left out. 1h to 87600h. The annotation
    /// keystead.io/rotate-signing-keys has one made whenever its value changes. Tokens signed before stay valid until they expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$') && duration(self) >= duration('1h') && duration(self) <= duration('87600h')")
        .message("auth.rotateAfter is a duration of 1h to 87600h, such as 2160h"))]
    pub rotate_after: Option<String>,
    /// Others whose tokens are accepted too, by OpenID Connect Discovery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["issuer"]))]
    pub issuers: Vec<IssuerSpec>,
}

/// Somebody else who signs tokens, such as a company's identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerSpec {
    /// Just as its tokens say in `iss`; below it is `/.well-known/openid-configuration`. Another for each issuer.
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&()*+,;=:@%/-]*)?$')")
        .message("no issuer: write an https URL without query, fragment and user, just as the tokens say in iss, such as https://login.example.com/realms/shop"))]
    pub issuer: String,
    /// A token is for this tenant if its `aud` has one of these.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 256)))]
    pub audiences: Vec<String>,
    /// The claim with the scopes: words separated by blanks, or a list of them. `scope` when left out.
    #[serde(default = "scopes_claim", skip_serializing_if = "is_scopes_claim")]
    #[schemars(length(min = 1, max = 64))]
    pub scopes_claim: String,
}

fn is_scopes_claim(name: &str) -> bool {
    name == scopes_claim()
}

fn scopes_claim() -> String {
    "scope".into()
}

impl From<IssuerSpec> for Issuer {
    fn from(spec: IssuerSpec) -> Self {
        Self { issuer: spec.issuer, audiences: spec.audiences, scopes_claim: spec.scopes_claim }
    }
}

impl Default for AuthSpec {
    fn default() -> Self {
        Self {
            sign_up: SignUp::default(),
            access_token_ttl: access_token_ttl(),
            refresh_token_ttl: refresh_token_ttl(),
            signing: Signing::default(),
            existing_secret: None,
            rotate_after: None,
            issuers: Vec::new(),
        }
    }
}

fn access_token_ttl() -> String {
    "30m".into()
}

fn refresh_token_ttl() -> String {
    "168h".into()
}

fn sign_up(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "enum": ["Closed", "Open"] })
}

/// Algorithm of the tenant's signing key (RFC 8037, RFC 7518).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Signing {
    #[default]
    EdDSA,
    HS256,
}

impl From<Signing> for Algorithm {
    fn from(signing: Signing) -> Self {
        match signing {
            Signing::EdDSA => Self::EdDSA,
            Signing::HS256 => Self::HS256,
        }
    }
}
