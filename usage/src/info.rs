//! What `INFO` says of the use of a Redis: <https://redis.io/docs/latest/commands/info/>.

/// The sections that are needed.
pub const SECTIONS: [&str; 4] = ["memory", "stats", "clients", "replication"];

/// Of the Redis that take writes, together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub memory_bytes: u64,
    /// 0: no bound.
    pub max_memory_bytes: u64,
    /// Share of the look-ups of keys since Redis started that have found one; none: there were none.
    pub hit_rate: Option<f64>,
    pub connections: u64,
    /// How far the replica is behind that is the furthest; none: there is no replica.
    pub replication_lag_bytes: Option<u64>,
}

impl Totals {
    /// Reads the sections of each Redis, one after the other.
    pub fn read(sections: &str) -> Self {
        let sum = |name: &str| sum_of(sections, name);
        let (hits, misses) = (sum("keyspace_hits"), sum("keyspace_misses"));
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
        let hit_rate = (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64);
        Self {
            memory_bytes: sum("used_memory"),
            max_memory_bytes: sum("maxmemory"),
            hit_rate,
            connections: sum("connected_clients"),
            replication_lag_bytes: lag(sections),
        }
    }
}

/// Of the numbers of this name in what `INFO` has given, of each Redis one.
fn sum_of(sections: &str, name: &str) -> u64 {
    let numbers = sections.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    numbers.filter_map(|number| number.trim().parse::<u64>().ok()).sum()
}

/// Primaries come one after the other, each with its replicas before its own offset:
/// `slave0:ip=…,port=…,state=online,offset=…,lag=…`.
fn lag(sections: &str) -> Option<u64> {
    let (mut behind, mut largest): (Option<u64>, Option<u64>) = (None, None);
    for line in sections.lines() {
        if line.starts_with("slave") {
            let offset = line.split(',').find_map(|field| field.strip_prefix("offset=")?.trim().parse().ok());
            behind = behind.into_iter().chain(offset).min();
        } else if let Some(own) = line.strip_prefix("master_repl_offset:") {
            let lag =
                behind.take().and_then(|behind| Some(own.trim().parse::<u64>().ok()?.saturating_sub(behind)));
            largest = largest.max(lag);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replica_that_is_furthest_behind_counts() {
        let alone = "role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:50\r\n";
        assert_eq!(lag(alone), None);
        let first = "slave0:ip=10.0.0.1,port=6379,state=online,offset=90,lag=0\r\nslave1:ip=10.0.0.2,port=6379,state=online,offset=70,lag=1\r\nmaster_repl_offset:100\r\n";
        let second =
            "slave0:ip=10.0.0.3,port=6379,state=online,offset=700,lag=0\r\nmaster_repl_offset:701\r\n";
        assert_eq!(lag(&[alone, first, second].concat()), Some(30));
    }

    #[test]
    fn what_shards_use_is_added_up() {
        let shard = "used_memory:100\r\nused_memory_rss:900\r\nmaxmemory:400\r\nkeyspace_hits:3\r\nkeyspace_misses:1\r\nconnected_clients:2\r\n";
        let both = Totals::read(&[shard, shard].concat());
        assert_eq!((both.memory_bytes, both.max_memory_bytes, both.connections), (200, 800, 4));
        assert_eq!(both.hit_rate, Some(0.75));
        assert_eq!(Totals::read("used_memory:1\r\n").hit_rate, None);
    }
}
