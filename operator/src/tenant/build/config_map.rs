//! redis.conf, the start script and the probes. No secret is in them.

use std::fmt::Write;

use k8s_openapi::api::core::v1::ConfigMap;
use keystead_crds::{AppendOnly, EvictionPolicy};

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    tenant::{
        names,
        validate::{Storage, ValidRedis, ValidTenant},
    },
};

pub(super) const START: &str = include_str!("scripts/start.sh");
pub(super) const READY: &str = include_str!("scripts/ready.sh");
pub(super) const ALIVE: &str = include_str!("scripts/alive.sh");

pub(super) fn build(tenant: &ValidTenant) -> Object {
    let namespace = names::namespace(&tenant.name);
    let config_map = ConfigMap {
        metadata: owned(tenant, &namespace, names::REDIS_CONFIG, Some(names::REDIS)),
        data: Some(
            [
                ("redis.conf", redis_conf(&tenant.redis)),
                ("start.sh", START.to_owned()),
                ("ready.sh", READY.to_owned()),
                ("alive.sh", ALIVE.to_owned()),
            ]
            .map(|(name, text)| (name.to_owned(), text))
            .into(),
        ),
        ..ConfigMap::default()
    };
    object(Kind::ConfigMap, &config_map)
}

/// Directives: <https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/>.
pub(super) fn redis_conf(redis: &ValidRedis) -> String {
    let mut text = format!(
        "# Written by the operator: change the Tenant, not this.\n\
         bind * -::*\n\
         port {port}\n\
         # Who may connect is settled by the NetworkPolicy, who may do what by the users.\n\
         protected-mode no\n\
         aclfile /etc/keystead/users/{users}\n\
         daemonize no\n\
         logfile \"\"\n\
         dir /data\n\
         maxmemory {max_memory}\n\
         maxmemory-policy {eviction}\n\
         lazyfree-lazy-eviction yes\n\
         lazyfree-lazy-expire yes\n\
         lazyfree-lazy-server-del yes\n",
        port = names::REDIS_PORT,
        users = super::secret::USERS_FILE,
        max_memory = redis.max_memory,
        eviction = eviction(redis.eviction),
    );
    text.push_str(match (redis.append_only, &redis.storage) {
        (AppendOnly::EverySecond, _) => "appendonly yes\nappendfsync everysec\nsave \"\"\n",
        (AppendOnly::Always, _) => "appendonly yes\nappendfsync always\nsave \"\"\n",
        (AppendOnly::Never, Storage::Volume { .. }) => "appendonly no\nsave 3600 1 300 100 60 10000\n",
        (AppendOnly::Never, Storage::Ephemeral) => "appendonly no\nsave \"\"\n",
    });
    for (name, value) in &redis.config {
        // Later lines win. Writing into a String cannot fail.
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
