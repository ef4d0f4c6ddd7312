//! What a member of a `Cluster` tenant has beyond a single Redis: scripts, further lines of redis.conf, and the users that
//! members need among each other. The scripts' folder says how they work together.

use super::replicated::{lines, replication};

/// The scripts of a member by name, beside `members` and `redis.conf` in one folder of the pod.
pub const SCRIPTS: [(&str, &str); 12] = [
    ("volume.sh", include_str!("scripts/volume.sh")),
    ("lib.sh", include_str!("scripts/replicated/lib.sh")),
    ("reload.sh", include_str!("scripts/replicated/reload.sh")),
    ("serve.sh", include_str!("scripts/replicated/serve.sh")),
    ("ready.sh", include_str!("scripts/replicated/ready.sh")),
    ("alive.sh", include_str!("scripts/replicated/alive.sh")),
    ("view.sh", include_str!("scripts/cluster/view.sh")),
    ("node.sh", include_str!("scripts/cluster/node.sh")),
    ("keeper.sh", include_str!("scripts/cluster/keeper.sh")),
    ("hand_over.sh", include_str!("scripts/cluster/hand_over.sh")),
    ("reshape.sh", include_str!("scripts/cluster/reshape.sh")),
    ("slots.sh", include_str!("scripts/cluster/slots.sh")),
];

/// Users of Redis that members need among each other, in `users.acl` beside the tenant's own.
pub const REDIS_USERS: [(&str, &str); 2] = [
    // A replica at its primary.
    ("replication", "resetkeys resetchannels -@all +ping +psync +replconf"),
    // The keeper, the hand-over and the reshaping, which moves keys of any name. Found by the ACL LOG of every scenario of
    // the tests; redis-cli asks for `command` before it reads commands from its input.
    (
        "cluster",
        "~* resetchannels -@all +ping +info +command +cluster|nodes +cluster|meet +cluster|forget +cluster|replicate \
         +cluster|failover +cluster|reset +cluster|set-config-epoch +cluster|addslotsrange +cluster|setslot \
         +cluster|countkeysinslot +cluster|getkeysinslot +migrate +select +restore-asking +config|set +acl|setuser",
    ),
];

/// What the user `monitor` may do besides: the operator and the probes look at the whole.
pub const MONITOR: &str = "+cluster|nodes +cluster|info";

/// Who must find the primary of a shard: the same as `keystead_kv::acl`; a test holds the two together.
pub(super) const CLIENT_OF_CLUSTER: &str = "+cluster|nodes +cluster|myid +asking +readonly";

/// What the tenant's own clients ask to find it: the same as `keystead_kv::acl`; a test holds the two together.
pub(super) const APP_OF_CLUSTER: &str =
    "+cluster|info +cluster|myid +cluster|nodes +cluster|shards +cluster|slots +asking +readonly +readwrite";

/// Lines of redis.conf for one of the members, of which each holds at most `max_memory` bytes. Directives:
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/>.
///
/// A primary that is cut off from most of the others takes no writes after a second: the cluster's own rule. Only where a
/// write must be confirmed by a replica is it refused without one: else a shard would take none until who failed is back.
pub fn redis_conf(must_confirm: bool, max_memory: u64) -> String {
    let text = lines([
        ("cluster-node-timeout 1000".into(), "A primary that hangs for a second is replaced."),
        (
            "cluster-require-full-coverage no".into(),
            "A shard without a primary is away alone: the others go on.",
        ),
        (
            "cluster-allow-replica-migration no".into(),
            "A replica stays in its shard, and a primary without slots stays one.",
        ),
        (
            format!("min-replicas-to-write {}", u8::from(must_confirm)),
            "What no replica could confirm is not written at all.",
        ),
        (
            "min-replicas-max-lag 3".into(),
            "Replicas report each second: two reports may be late. A primary is replaced within 3 s.",
        ),
    ]);
    text + &replication(max_memory)
}
