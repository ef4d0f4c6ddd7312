//! What a member of a `Replicated` tenant has beyond a single Redis: scripts, further lines of redis.conf, and the users
//! that members need among each other. The scripts' folder says how they work together.

use std::fmt::Write;

/// The scripts of a member by name, beside `members` and `redis.conf` in one folder of the pod.
pub const SCRIPTS: [(&str, &str); 13] = [
    ("volume.sh", include_str!("scripts/volume.sh")),
    ("lib.sh", include_str!("scripts/replicated/lib.sh")),
    ("reload.sh", include_str!("scripts/replicated/reload.sh")),
    ("serve.sh", include_str!("scripts/replicated/serve.sh")),
    ("sentinels.sh", include_str!("scripts/replicated/sentinels.sh")),
    ("redis.sh", include_str!("scripts/replicated/redis.sh")),
    ("sentinel.sh", include_str!("scripts/replicated/sentinel.sh")),
    ("keeper.sh", include_str!("scripts/replicated/keeper.sh")),
    ("hand_over.sh", include_str!("scripts/replicated/hand_over.sh")),
    ("wait_hand_over.sh", include_str!("scripts/replicated/wait_hand_over.sh")),
    ("reader.sh", include_str!("scripts/replicated/reader.sh")),
    ("ready.sh", include_str!("scripts/replicated/ready.sh")),
    ("alive.sh", include_str!("scripts/replicated/alive.sh")),
];

/// Users of Redis that members need among each other, in `users.acl` beside the tenant's own.
pub const REDIS_USERS: [(&str, &str); 2] = [
    // A replica at its primary.
    ("replication", "resetkeys resetchannels -@all +ping +psync +replconf"),
    // The Sentinels, the keeper and the hand-over. Found by the ACL LOG of every scenario of the tests.
    (
        "sentinel",
        "resetkeys resetchannels &__sentinel__:hello -@all +ping +info +multi +exec +slaveof +replicaof \
         +config|rewrite +config|set +subscribe +publish +client|setname +client|kill +client|pause \
         +client|unpause +script|kill +acl|setuser",
    ),
];

/// Users of Sentinel, in `sentinel-users.acl`; `default` is off.
pub const SENTINEL_USERS: [(&str, &str); 4] = [
    // The other Sentinels, the keeper and the hand-over.
    (
        "sentinel",
        "resetkeys resetchannels &__sentinel__:hello -@all +ping +publish +client|setname \
         +sentinel|is-master-down-by-addr +sentinel|monitor +sentinel|set +sentinel|remove +sentinel|config \
         +sentinel|failover +sentinel|debug +acl|setuser",
    ),
    // The scripts and the operator: reads.
    (
        "monitor",
        "resetkeys resetchannels -@all +ping +info +sentinel|get-master-addr-by-name +sentinel|master \
         +sentinel|masters +sentinel|replicas +sentinel|sentinels +sentinel|ckquorum",
    ),
    ("gateway", CLIENT_OF_SENTINEL),
    ("worker", CLIENT_OF_SENTINEL),
];

/// Who must find the primary and hear when there is another: the same as `keystead_kv::acl`; a test holds the two together.
pub(super) const CLIENT_OF_SENTINEL: &str = "resetkeys resetchannels &+switch-master -@all +auth +hello +ping +client|id \
+subscribe +unsubscribe +sentinel|get-master-addr-by-name +sentinel|master";

/// What the tenant's own clients ask besides: the same as `keystead_kv::acl`; a test holds the two together.
pub(super) const APP_OF_SENTINEL: &str = "allchannels +psubscribe +punsubscribe \
+sentinel|masters +sentinel|replicas +sentinel|sentinels +sentinel|slaves";

/// Lines of redis.conf for one of so many members, of which each holds at most `max_memory` bytes. Directives:
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/>.
pub fn redis_conf(members: u8, max_memory: u64) -> String {
    let text = lines([
        (
            format!("min-replicas-to-write {}", members / 2),
            "A primary that is cut off from the majority stops taking writes, which would be lost.",
        ),
        (
            "min-replicas-max-lag 3".into(),
            "Replicas report each second: two reports may be late. The Sentinels replace a primary within 3 s.",
        ),
    ]);
    text + &replication(max_memory)
}

/// What holds for replicas wherever there are any.
pub(super) fn replication(max_memory: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    let backlog = (max_memory / 16).clamp(MIB, 64 * MIB);
    let buffer = (max_memory / 4).clamp(16 * MIB, 256 * MIB);
    lines([
        (
            "replica-serve-stale-data no".into(),
            "A replica that lost its primary says so, instead of answers of any age.",
        ),
        ("repl-diskless-sync yes".into(), "A copy goes to the replica, not first to the disk."),
        (
            "repl-diskless-sync-delay 0".into(),
            "A replica that is away is one copy less: it does not wait for others.",
        ),
        (
            format!("repl-backlog-size {backlog}"),
            "What a replica may miss without a whole copy: a part of the memory.",
        ),
        (
            "repl-backlog-ttl 0".into(),
            "Kept also while there is no replica: without it the history gets another id, by which nobody knows it any more.",
        ),
        (
            format!("client-output-buffer-limit replica {buffer} {} 60", buffer / 2),
            "What waits for a replica that is copying is memory beyond maxmemory: the default is a quarter GiB.",
        ),
        (
            "repl-timeout 10".into(),
            "A link that died without a word is made anew after that, and one that was begun to a pod that is gone; a copy in progress keeps it alive.",
        ),
        ("repl-ping-replica-period 3".into(), "Well below repl-timeout, also when two are lost."),
        (
            "shutdown-timeout 5".into(),
            "For a replica that is behind at the end: with the hand-over before it, none should be.",
        ),
    ])
}

/// Directives, each after its reason.
pub(super) fn lines(directives: impl IntoIterator<Item = (String, &'static str)>) -> String {
    directives.into_iter().fold(String::new(), |mut text, (line, why)| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# {why}\n{line}");
        text
    })
}
