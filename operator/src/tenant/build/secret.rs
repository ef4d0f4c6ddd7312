//! The Secrets in the tenant's namespace: labels of `credentials`, whose contents are never applied, and the users of
//! Redis with their passwords as hashes.

use k8s_openapi::{ByteString, api::core::v1::Secret};
use keystead_route::{SecretText, hex};
use sha2::{Digest, Sha256};

use super::{Object, object, owned, unowned};
use crate::{
    kinds::Kind,
    tenant::{credentials::Credentials, names, validate::ValidTenant},
};

/// Name of the file of users, in the Secret and in the pod.
pub(super) const USERS_FILE: &str = "users.acl";

/// What each user may do: the same as `keystead_kv::acl`, which says why; a test holds the two together.
pub(super) const GATEWAY_RULES: &str = "~kv:* ~auth:* ~jobs:* &jobs:* -@all +hello +ping +client|id +client|tracking +client|caching \
+evalsha +script|load \
+get +getrange +set +del +exists +hget +hset +hdel +hmget +hgetall +hvals +hlen +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +xlen +xrange +xrevrange +publish +info";
pub(super) const WORKER_RULES: &str = "~kv:* ~jobs:* &jobs:* -@all +hello +ping +evalsha +script|load \
+get +getrange +set +del +exists +hget +hset +hdel +hmget +hgetall +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +publish +subscribe +unsubscribe +info";
pub(super) const MONITOR_RULES: &str = "resetkeys resetchannels -@all +ping +info";

/// The Secret `credentials` without its contents: they are generated once, and then only read. It has no owner: with
/// the data retained, it is kept for the next Tenant of the name.
pub(super) fn credentials(tenant: &ValidTenant) -> Object {
    let namespace = names::namespace(&tenant.name);
    let metadata = unowned(&tenant.name, Some(&namespace), names::CREDENTIALS, None);
    object(Kind::Secret, &Secret { metadata, ..Secret::default() })
}

pub(super) fn redis_users(tenant: &ValidTenant, credentials: &Credentials) -> Object {
    let namespace = names::namespace(&tenant.name);
    let secret = Secret {
        metadata: owned(tenant, &namespace, names::REDIS_USERS, Some(names::REDIS)),
        data: Some([(USERS_FILE.to_owned(), ByteString(users(credentials).into_bytes()))].into()),
        ..Secret::default()
    };
    object(Kind::Secret, &secret)
}

/// The file that `aclfile` names: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>.
pub(super) fn users(credentials: &Credentials) -> String {
    let user = |name: &str, password: &SecretText, rules: &str| {
        let digest = Sha256::digest(password.expose().as_bytes());
        let hash = hex(&digest);
        format!("user {name} on #{hash} {rules}\n")
    };
    [
        // Off and without a password: nobody logs in as it. It keeps its permissions because Redis replays the
        // append-only file as this user; without them every transaction in it, so every script that wrote more than
        // once, would be left out at a restart.
        "user default off resetpass ~* &* +@all\n".to_owned(),
        user("gateway", &credentials.gateway_password, GATEWAY_RULES),
        user("worker", &credentials.worker_password, WORKER_RULES),
        user("monitor", &credentials.monitor_password, MONITOR_RULES),
    ]
    .concat()
}
