//! The Secrets in the tenant's namespace: labels of `credentials`, whose contents are never applied, and the users of
//! Redis with their passwords as hashes.

use k8s_openapi::{ByteString, api::core::v1::Secret};
use keystead_route::hex;
use sha2::{Digest, Sha256};

use super::{Object, cluster, object, owned, replicated, unowned};
use crate::{
    kinds::Kind,
    tenant::{
        credentials::Credentials,
        names,
        validate::{Arrangement, ValidTenant},
    },
};

/// Names of the files of users, in the Secret and in the pod.
pub(super) const USERS_FILE: &str = "users.acl";
const SENTINEL_USERS_FILE: &str = "sentinel-users.acl";

/// What each user may do: the same as `keystead_kv::acl`, which says why; a test holds the two together.
pub(super) const GATEWAY_RULES: &str = "~kv:* ~auth:* ~jobs:* ~audit:* &jobs:* -@all +hello +ping +client|id +client|tracking +client|caching \
+evalsha +script|load +wait +role \
+get +getrange +strlen +set +del +exists +hget +hset +hdel +hmget +hgetall +hvals +hlen +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +xlen +xrange +xrevrange +publish +info";
pub(super) const WORKER_RULES: &str = "~kv:* ~jobs:* ~audit:* &jobs:* -@all +hello +ping +evalsha +script|load +wait +role \
+get +getrange +strlen +set +del +exists +hget +hset +hdel +hmget +hgetall +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +xlen +xrange +publish +subscribe +unsubscribe +info";
pub(super) const MONITOR_RULES: &str = "resetkeys resetchannels %R~jobs:{j}:ready %R~jobs:{j}:scheduled %R~jobs:{j}:schedules %R~jobs:{j}:counts \
-@all +ping +info +zcard +zcount +zrangebyscore +hget (%R~kv:{*}:i %R~kv:{*}:x -@all +zcard +zcount)";
pub(super) const FSYNC_RULES: &str = "+waitaof";
pub(super) const SLEEP_RULES: &str = "%R~jobs:{j}:used +time +get";

pub(super) const APP_RULES: &str = "~app:* &app:* -@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +@hyperloglog +@geo \
+@keyspace +@pubsub +@transaction +@connection -@admin -@dangerous -scan -randomkey -client|tracking +info +time";

/// The script beside a single Redis: it makes changed users and settings known.
const KEEPER_RULES: &str = "resetkeys resetchannels -@all +ping +acl|setuser +config|set";

/// The Secret `credentials` without its contents: they are generated once, and then only read. It has no owner: with
/// the data retained, it is kept for the next Tenant of the name.
pub(super) fn credentials(tenant: &ValidTenant) -> Object {
    let namespace = names::namespace(&tenant.name);
    let metadata = unowned(&tenant.name, Some(&namespace), names::CREDENTIALS, None);
    object(Kind::Secret, &Secret { metadata, ..Secret::default() })
}

pub(super) fn redis_users(tenant: &ValidTenant, credentials: &Credentials) -> Object {
    let namespace = names::namespace(&tenant.name);
    let mut files = vec![(USERS_FILE, users(tenant, credentials))];
    if let Arrangement::Replicated { .. } = tenant.redis.arrangement {
        files.push((SENTINEL_USERS_FILE, sentinel_users(tenant, credentials)));
    }
    let data = files.into_iter().map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())));
    let secret = Secret {
        metadata: owned(tenant, &namespace, names::REDIS_USERS, Some(names::REDIS)),
        data: Some(data.collect()),
        ..Secret::default()
    };
    object(Kind::Secret, &secret)
}

/// The file that `aclfile` names: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>.
fn users(tenant: &ValidTenant, credentials: &Credentials) -> String {
    let arrangement = &tenant.redis.arrangement;
    let is_cluster = matches!(arrangement, Arrangement::Cluster(_));
    // A Redis that does not know a command would refuse the whole file.
    let fsync = tenant.redis.knows_waitaof.then_some(FSYNC_RULES);
    let client = |rules| [Some(rules), is_cluster.then_some(cluster::CLIENT_OF_CLUSTER), fsync];
    let sleeps = tenant.idle_after.is_some().then_some(SLEEP_RULES);
    let monitor = [Some(MONITOR_RULES), is_cluster.then_some(cluster::MONITOR), sleeps];
    let among: &[(&str, &str)] = match arrangement {
        Arrangement::Standalone => &[("keeper", KEEPER_RULES)],
        Arrangement::Replicated { .. } => &replicated::REDIS_USERS,
        Arrangement::Cluster(_) => &cluster::REDIS_USERS,
    };
    // Off and without a password: nobody logs in as it. It keeps its permissions because Redis replays the
    // append-only file as this user; without them every transaction in it, so every script that wrote more than
    // once, would be left out at a restart.
    let mut text = "user default off resetpass ~* &* +@all\n".to_owned();
    text.extend(user(credentials, "gateway", client(GATEWAY_RULES)));
    text.extend(user(credentials, "worker", client(WORKER_RULES)));
    text.extend(user(credentials, "monitor", monitor));
    text.extend(among.iter().filter_map(|(name, rules)| user(credentials, name, [Some(*rules)])));
    let of_cluster = is_cluster.then_some(cluster::APP_OF_CLUSTER);
    text.push_str(&app(tenant, credentials, [Some(APP_RULES), of_cluster]));
    text
}

/// The same for the Sentinels.
fn sentinel_users(tenant: &ValidTenant, credentials: &Credentials) -> String {
    let users = replicated::SENTINEL_USERS
        .into_iter()
        .filter_map(|(name, rules)| user(credentials, name, [Some(rules)]));
    let rules = [replicated::CLIENT_OF_SENTINEL, replicated::APP_OF_SENTINEL];
    let app = app(tenant, credentials, rules.map(Some));
    ["user default off resetpass\n".to_owned()].into_iter().chain(users).chain([app]).collect()
}

/// The line of the tenant's own clients. Also where there are none: a Redis that runs is told of users and never of one that is
/// gone, so it would go on letting them in.
fn app<'a>(
    tenant: &ValidTenant,
    credentials: &Credentials,
    rules: impl IntoIterator<Item = Option<&'a str>>,
) -> String {
    let line = if tenant.has_clients() { user(credentials, names::APP_USER, rules) } else { None };
    line.unwrap_or_else(|| format!("user {} off\n", names::APP_USER))
}

/// A line of such a file; none for one that has no password. Of a password that is being replaced, both are valid.
fn user<'a>(
    credentials: &Credentials,
    name: &str,
    rules: impl IntoIterator<Item = Option<&'a str>>,
) -> Option<String> {
    let password = match name {
        "gateway" => &credentials.gateway_password,
        "worker" => &credentials.worker_password,
        "monitor" => &credentials.monitor_password,
        name => credentials.members.get(name)?,
    };
    let others = credentials.others.get(&format!("{name}-password")).into_iter().flatten();
    let hashes = [password].into_iter().chain(others).map(|password| {
        let digest = Sha256::digest(password.expose().as_bytes());
        format!("#{}", hex(&digest))
    });
    let hashes = hashes.collect::<Vec<_>>().join(" ");
    let rules = rules.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(format!("user {name} on {hashes} {rules}\n"))
}
