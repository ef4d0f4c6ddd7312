//! What each ACL user of a tenant's Redis, and of its Sentinels, may do: key patterns, channels and the commands that this
//! crate sends, and what the tenant's own clients may.
//!
//! The operator writes these rules, without this crate, into `users.acl`; a test holds the two together.

/// The gateway: entries, accounts, API keys, the queue and the audit log.
pub const GATEWAY: &str = "~kv:* ~auth:* ~jobs:* ~audit:* &jobs:* -@all +hello +ping +client|id +client|tracking +client|caching \
+evalsha +script|load +wait +role \
+get +getrange +strlen +set +del +exists +hget +hset +hdel +hmget +hgetall +hvals +hlen +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +xlen +xrange +xrevrange +publish +info";

/// The worker: entries, the queue and the audit log, never accounts.
pub const WORKER: &str = "~kv:* ~jobs:* ~audit:* &jobs:* -@all +hello +ping +evalsha +script|load +wait +role \
+get +getrange +strlen +set +del +exists +hget +hset +hdel +hmget +hgetall +hincrby +expire +pexpire +pexpireat +pttl +time \
+persist +sadd +smembers +srem +spop +zpopmin +zadd +zrem +zcard +zcount +zlexcount +zrange +zrangebyscore +zscore +xadd +xlen +xrange +publish +subscribe +unsubscribe +info";

/// Probes and figures. Of the queue it sees how many jobs there are and when, never what is in one; of entries how many there are,
/// never their keys.
pub const MONITOR: &str = "resetkeys resetchannels %R~jobs:{j}:ready %R~jobs:{j}:scheduled %R~jobs:{j}:schedules %R~jobs:{j}:counts \
-@all +ping +info +zcard +zcount +zrangebyscore +hget (%R~kv:{*}:i %R~kv:{*}:x -@all +zcard +zcount)";

/// What is beside `MONITOR` for who lets an idle tenant sleep: when it was used last.
pub const SLEEP: &str = "%R~jobs:{j}:used +time +get";

/// What gateway and worker also need for `Durability::Fsync`. Redis before 7.2 does not know it, and refuses a whole file of
/// users in which it is named: only for those that do.
pub const FSYNC: &str = "+waitaof";

/// What gateway and worker also need in a cluster: who has which slots, a key whose slot is just being moved, and reads of a
/// replica.
pub const CLUSTER: &str = "+cluster|nodes +cluster|myid +asking +readonly";

/// Gateway and worker at a Sentinel, by the names and passwords that they have at Redis: who the primary is, and no more.
pub const SENTINEL_CLIENT: &str = "resetkeys resetchannels &+switch-master -@all +auth +hello +ping +client|id \
+subscribe +unsubscribe +sentinel|get-master-addr-by-name +sentinel|master";

/// The tenant's own clients: keys and channels of their own, and what is done with those. By the categories of what Redis itself
/// holds, so that no module's commands are among them (Redis 8): an index would show what others hold. Nothing that names the keys
/// of others (`SCAN`, `RANDOMKEY`, what tells of changes), and no scripts: those of all users share one interpreter, in which one could
/// change what another's find, with that one's rights (CVE-2025-46818).
pub const APP: &str = "~app:* &app:* -@all +@string +@hash +@list +@set +@sortedset +@stream +@bitmap +@hyperloglog +@geo \
+@keyspace +@pubsub +@transaction +@connection -@admin -@dangerous -scan -randomkey -client|tracking +info +time";

/// What they also need in a cluster, in which each library asks in its own way who has which slots.
pub const APP_CLUSTER: &str =
    "+cluster|info +cluster|myid +cluster|nodes +cluster|shards +cluster|slots +asking +readonly +readwrite";

/// What they may ask a Sentinel beside `SENTINEL_CLIENT`. Some libraries listen to all that it tells: that is of this tenant alone.
pub const APP_SENTINEL: &str = "allchannels +psubscribe +punsubscribe \
+sentinel|masters +sentinel|replicas +sentinel|sentinels +sentinel|slaves";
