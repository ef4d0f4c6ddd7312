//! What a member of a cluster knows of it: its answer to `CLUSTER NODES`.

use std::ops::RangeInclusive;

use crate::group::{Named, address};

/// The nodes of a cluster, as one of them sees them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// `host:port`, as routes have it.
    pub(crate) address: String,
    /// Whether it is the one that was asked.
    pub(crate) is_asked: bool,
    is_primary: bool,
    has_failed: bool,
    /// The version of what it says of its slots.
    epoch: u64,
    pub(crate) slots: Vec<RangeInclusive<u16>>,
}

impl View {
    /// `of`: the address of the one that was asked, which may not know its own.
    pub(crate) fn of(answer: &str, of: &str) -> Self {
        Self { nodes: answer.lines().filter_map(|line| node(line, of)).collect() }
    }

    /// Which of these takes the writes: the one that has slots; while nobody of them has any yet, the only one that follows
    /// nobody, if this member knows the others at all.
    pub(crate) fn primary_of(&self, members: &[String]) -> Option<Named> {
        let primaries = || self.nodes.iter().filter(|it| it.is_primary && members.contains(&it.address));
        let with_slots = primaries().filter(|it| !it.slots.is_empty()).max_by_key(|it| it.epoch);
        let mut others = primaries().filter(|it| !it.has_failed);
        let is_formed = self.nodes.iter().any(|it| !it.slots.is_empty());
        let alone = match (others.next(), others.next()) {
            (Some(only), None) if is_formed => Some(only),
            _ => None,
        };
        let primary = with_slots.or(alone)?;
        Some(Named { address: primary.address.clone(), epoch: primary.epoch })
    }
}

/// `<id> <ip:port@cport[,hostname]> <flags> <primary> <ping> <pong> <epoch> <link> <slot>…`
fn node(line: &str, of: &str) -> Option<Node> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, place, flags, _, _, _, epoch, _, slots @ ..] = &words[..] else { return None };
    let has = |flag| flags.split(',').any(|it| it == flag);
    let is_asked = has("myself");
    let (host, port) = place.split('@').next()?.rsplit_once(':')?;
    Some(Node {
        address: if is_asked { of.to_owned() } else { address(host, port) },
        is_asked,
        is_primary: has("master") && !has("handshake") && !has("noaddr"),
        has_failed: has("fail"),
        epoch: epoch.parse().ok()?,
        slots: slots.iter().filter_map(|slots| range(slots)).collect(),
    })
}

/// One slot, or a range; none for one that is on its way (`[93-<-id]`).
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\
        aa 10.0.0.1:6379@16379 master,fail - 1 2 3 connected 0-100 5460 [93-<-bb]\n\
        bb :6379@16379 myself,master - 0 0 7 connected 200-300\n\
        cc 10.0.0.3:6379@16379,name slave bb 0 0 7 connected\n\
        dd fd00::1:6379@16379 master - 0 0 0 connected\n\
        ee 10.0.0.5:6379@16379 handshake,master - 0 0 0 connected\n\
        ff :0@0 noaddr,master - 0 0 9 disconnected\n";

    fn named(members: &[&str]) -> Option<(String, u64)> {
        let members: Vec<String> = members.iter().map(|it| (*it).to_owned()).collect();
        View::of(ANSWER, "10.0.0.2:6379").primary_of(&members).map(|named| (named.address, named.epoch))
    }

    #[test]
    fn an_answer_is_read() {
        let view = View::of(ANSWER, "10.0.0.2:6379");
        let addresses: Vec<&str> = view.nodes.iter().map(|node| node.address.as_str()).collect();
        assert_eq!(
            addresses,
            ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379", "[fd00::1]:6379", "10.0.0.5:6379", ":0"]
        );
        assert_eq!(view.nodes[0].slots, [0..=100, 5460..=5460]);
        assert!(view.nodes[1].is_asked && !view.nodes[0].is_asked);
        assert_eq!(View::of("nonsense\n", "a:1").nodes, []);
    }

    #[test]
    fn the_primary_of_a_shard_has_its_slots() {
        assert_eq!(named(&["10.0.0.2:6379", "10.0.0.3:6379"]), Some(("10.0.0.2:6379".into(), 7)));
        let both = named(&["10.0.0.1:6379", "10.0.0.2:6379"]);
        assert_eq!(both, Some(("10.0.0.2:6379".into(), 7)), "the newer statement counts");
        assert_eq!(named(&["10.0.0.3:6379"]), None, "a replica");
    }

    #[test]
    fn the_primary_of_a_shard_without_slots_is_the_only_one() {
        assert_eq!(named(&["[fd00::1]:6379", "10.0.0.3:6379"]), Some(("[fd00::1]:6379".into(), 0)));
        let stranger = View::of("aa 10.0.0.1:6379@16379 myself,master - 0 0 0 connected\n", "10.0.0.1:6379");
        assert_eq!(stranger.primary_of(&["10.0.0.1:6379".to_owned()]), None, "it knows nobody");
    }
}
