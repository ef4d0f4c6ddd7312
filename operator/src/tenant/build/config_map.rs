//! redis.conf, the start script and the probes. No secret is in them.

use std::fmt::Write;

use k8s_openapi::api::core::v1::ConfigMap;
use keystead_crds::{AppendOnly, EvictionPolicy, live_settings};
use keystead_route::Durability;

use super::{Object, cluster, object, owned, replicated, tls};
use crate::{
    kinds::Kind,
    tenant::{
        names,
        validate::{Arrangement, Storage, ValidRedis, ValidTenant},
    },
};

/// The file of settings that Redis takes while it runs.
pub const LIVE: &str = "live.conf";
/// The file of all members with their addresses, in Cluster also their shards.
pub const MEMBERS: &str = "members";
const START: &str = include_str!("scripts/start.sh");
const VOLUME: &str = include_str!("scripts/volume.sh");
const READY: &str = include_str!("scripts/ready.sh");
const ALIVE: &str = include_str!("scripts/alive.sh");

pub(super) fn build(tenant: &ValidTenant, addresses: &[(String, String)]) -> Object {
    let namespace = names::namespace(&tenant.name);
    let config_map = ConfigMap {
        metadata: owned(tenant, &namespace, names::REDIS_CONFIG, Some(names::REDIS)),
        data: Some(
            files(&tenant.redis, addresses).into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
        ),
        ..ConfigMap::default()
    };
    object(Kind::ConfigMap, &config_map)
}

/// What a pod of Redis starts with.
pub(super) fn files(redis: &ValidRedis, addresses: &[(String, String)]) -> Vec<(&'static str, String)> {
    let lines = |line: &dyn Fn(&str, &str) -> String| {
        addresses.iter().map(|(name, ip)| line(name, ip) + "\n").collect::<String>()
    };
    let of_a_member = |conf: String, members: String, scripts: &[(&'static str, &str)]| {
        let scripts = scripts.iter().chain([&tls::SCRIPT]).map(|(name, text)| (*name, (*text).to_owned()));
        [("redis.conf", redis_conf(redis) + &conf), (LIVE, live_conf(redis)), (MEMBERS, members)]
            .into_iter()
            .chain(scripts)
            .collect()
    };
    match &redis.arrangement {
        Arrangement::Standalone => vec![
            ("redis.conf", redis_conf(redis)),
            (LIVE, live_conf(redis)),
            ("start.sh", START.to_owned()),
            ("volume.sh", VOLUME.to_owned()),
            ("ready.sh", READY.to_owned()),
            ("alive.sh", ALIVE.to_owned()),
            (tls::SCRIPT.0, tls::SCRIPT.1.to_owned()),
        ],
        Arrangement::Replicated { members } => of_a_member(
            replicated::redis_conf(*members, redis.max_memory),
            lines(&|name, ip| format!("{name} {ip}")),
            &replicated::SCRIPTS,
        ),
        Arrangement::Cluster(shards) => of_a_member(
            cluster::redis_conf(
                shards.replicas > 0 && redis.durability != Durability::Async,
                redis.max_memory,
            ),
            lines(&|name, ip| format!("{name} {ip} {}", names::shard_of(name).unwrap_or_default())),
            &cluster::SCRIPTS,
        ),
    }
}

/// Directives: <https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/>.
fn redis_conf(redis: &ValidRedis) -> String {
    let mut text = format!(
        "# Written by the operator: change the Tenant, not this.\n\
         bind * -::*\n\
         {port}\n\
         # Who may connect is settled by the NetworkPolicy, who may do what by the users.\n\
         protected-mode no\n\
         aclfile /etc/keystead/users/{users}\n\
         daemonize no\n\
         logfile \"\"\n\
         dir /data\n\
         maxmemory {max_memory}\n\
         include /etc/keystead/redis/{LIVE}\n",
        port = if redis.tls.is_some() {
            tls::REDIS_CONF.trim_end().to_owned()
        } else {
            format!("port {}", names::REDIS_PORT)
        },
        users = super::secret::USERS_FILE,
        max_memory = redis.max_memory,
    );
    text.push_str(match (redis.append_only, &redis.storage) {
        (AppendOnly::EverySecond | AppendOnly::Always, _) => "appendonly yes\nsave \"\"\n",
        (AppendOnly::Never, Storage::Volume { .. }) => "appendonly no\nsave 3600 1 300 100 60 10000\n",
        (AppendOnly::Never, Storage::Ephemeral) => "appendonly no\nsave \"\"\n",
    });
    let is_live = |name: &str| live_settings().any(|(live, _)| live == name);
    for (name, value) in redis.config.iter().filter(|(name, _)| !is_live(name)) {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

/// What Redis takes while it runs: a change of it restarts nothing.
fn live_conf(redis: &ValidRedis) -> String {
    let fsync = if redis.append_only == AppendOnly::Always { "always" } else { "everysec" };
    let mut text = format!("maxmemory-policy {}\nappendfsync {fsync}\n", eviction(redis.eviction));
    for (name, default) in live_settings() {
        let value = redis.config.get(name).map_or(default, String::as_str);
        let _ =
            if value.is_empty() { writeln!(text, "{name} \"\"") } else { writeln!(text, "{name} {value}") };
    }
    text
}

fn eviction(policy: EvictionPolicy) -> &'static str {
    match policy {
        EvictionPolicy::NoEviction => "noeviction",
        EvictionPolicy::VolatileLru => "volatile-lru",
        EvictionPolicy::VolatileLfu => "volatile-lfu",
        EvictionPolicy::VolatileRandom => "volatile-random",
        EvictionPolicy::VolatileTtl => "volatile-ttl",
    }
}
