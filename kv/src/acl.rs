//! What each ACL user of a tenant's Redis may do: key patterns, channels and the commands that this crate sends.
//!
//! The operator writes these rules, without this crate, into `users.acl`; a test holds the two together.

/// The gateway: entries, accounts, API keys and the queue.
pub const GATEWAY: &str = "~kv:* ~auth:* ~jobs:* &jobs:* -@all +hello +ping +client|id +client|tracking +client|caching \
+evalsha +script|load \
+get +getrange +set +del +exists +hget +hset +hdel +hmget +hgetall +hvals +hlen +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +xlen +xrange +xrevrange +publish +info";

/// The worker: entries and the queue, never accounts.
pub const WORKER: &str = "~kv:* ~jobs:* &jobs:* -@all +hello +ping +evalsha +script|load \
+get +getrange +set +del +exists +hget +hset +hdel +hmget +hgetall +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +publish +subscribe +unsubscribe +info";

/// Probes and figures: no key at all.
pub const MONITOR: &str = "resetkeys resetchannels -@all +ping +info";
