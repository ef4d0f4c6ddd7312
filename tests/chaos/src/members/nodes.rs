//! How a node sees its Redis Cluster: <https://redis.io/docs/latest/commands/cluster-nodes/>.

use std::collections::BTreeMap;

/// All slots of a cluster.
const SLOTS: usize = 16_384;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nodes(Vec<Node>);

#[derive(Debug, PartialEq, Eq)]
struct Node {
    id: String,
    /// Of its pod; its address where that is no member's.
    name: String,
    flags: String,
    /// The id of its primary.
    follows: String,
    is_connected: bool,
    slots: usize,
    is_moving_slots: bool,
}

impl Nodes {
    pub(super) fn of(text: &str, names: &BTreeMap<String, String>) -> Self {
        Self(text.lines().filter_map(|line| Node::of(line, names)).collect())
    }

    /// The primary of this member's shard, or itself.
    pub(super) fn primary_beside(&self, member: &str) -> Result<String, String> {
        let primary = self.0.iter().find(|it| it.slots > 0 && shard(&it.name) == shard(member));
        primary.map(|it| it.name.clone()).ok_or_else(|| format!("no primary beside {member}: {self:?}"))
    }

    /// Those that have slots, by name.
    pub(super) fn primaries(&self) -> Vec<String> {
        let mut names: Vec<_> = self.0.iter().filter(|it| it.slots > 0).map(|it| it.name.clone()).collect();
        names.sort();
        names
    }

    /// All members, one primary in each shard which the others there follow, and every slot with one of them.
    pub(super) fn whole(&self, members: usize) -> Result<(), String> {
        let is_well = |it: &Node| {
            let flags = it.flags.trim_start_matches("myself,");
            let of = self.0.iter().find(|primary| primary.id == it.follows);
            // What a replica may not do while that flag is there does not concern a primary.
            let is_primary = matches!(flags, "master" | "master,nofailover") && it.slots > 0;
            let is_replica =
                flags == "slave" && of.is_some_and(|of| of.slots > 0 && shard(&of.name) == shard(&it.name));
            it.is_connected && !it.is_moving_slots && (is_primary || is_replica)
        };
        if let Some(node) = self.0.iter().find(|it| !is_well(it)) {
            return Err(format!("{node:?}"));
        }
        let slots: usize = self.0.iter().map(|it| it.slots).sum();
        let mut primaries: Vec<_> =
            self.0.iter().filter(|it| it.slots > 0).map(|it| shard(&it.name)).collect();
        let count = primaries.len();
        primaries.dedup();
        if self.0.len() == members && slots == SLOTS && primaries.len() == count {
            Ok(())
        } else {
            Err(format!("{} of {members} members, {slots} slots, {count} primaries", self.0.len()))
        }
    }
}

impl Node {
    fn of(line: &str, names: &BTreeMap<String, String>) -> Option<Self> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [id, address, flags, follows, _, _, _, state, slots @ ..] = &fields[..] else { return None };
        let address = address.split(['@', ',']).next()?.rsplit_once(':')?.0;
        let count = |range: &&str| -> Option<usize> {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
        };
        Some(Self {
            id: (*id).to_owned(),
            name: names.get(address).cloned().unwrap_or_else(|| address.to_owned()),
            flags: (*flags).to_owned(),
            follows: (*follows).to_owned(),
            is_connected: *state == "connected",
            slots: slots.iter().filter_map(count).sum(),
            is_moving_slots: slots.iter().any(|it| it.starts_with('[')),
        })
    }
}

/// The name of a member without its ordinal.
fn shard(member: &str) -> &str {
    member.rsplit_once('-').map_or(member, |(shard, _)| shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
        a1 10.0.0.1:6379@16379,,shard-id=x myself,master - 0 0 1 connected 0-8191\n\
        a2 10.0.0.2:6379@16379 slave a1 0 0 1 connected\n\
        b1 10.0.0.3:6379@16379 slave b2 0 0 4 connected\n\
        b2 10.0.0.4:6379@16379 master,nofailover - 0 0 4 connected 8192-16382 16383\n";

    fn nodes(text: &str) -> Nodes {
        let names = ["redis-shard-0-0", "redis-shard-0-1", "redis-shard-1-0", "redis-shard-1-1"];
        Nodes::of(text, &(1..).map(|it| format!("10.0.0.{it}")).zip(names.map(str::to_owned)).collect())
    }

    #[test]
    fn a_whole_cluster_is_seen() {
        let all = nodes(NODES);
        assert_eq!(all.whole(4), Ok(()));
        assert_eq!(all.primaries(), ["redis-shard-0-0", "redis-shard-1-1"]);
        assert_eq!(all.primary_beside("redis-shard-1-0").as_deref(), Ok("redis-shard-1-1"));
    }

    #[test]
    fn what_lacks_is_seen() {
        for lacking in [
            NODES.replace("16382 16383", "16382"),
            NODES.replace("myself,master", "myself,master,fail?"),
            NODES.replace("slave a1", "slave b2"),
            NODES.replace("connected 0-8191", "connected 0-8191 [5->-b2]"),
            NODES.replace("a2 10.0.0.2:6379@16379 slave a1 0 0 1 connected", ""),
            NODES.replace("slave b2 0 0 4 connected", "slave b2 0 0 4 disconnected"),
            NODES.replace("slave a1", "slave,nofailover a1"),
        ] {
            assert!(nodes(&lacking).whole(4).is_err(), "{lacking}");
        }
    }
}
