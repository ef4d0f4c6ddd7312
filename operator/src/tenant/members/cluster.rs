//! What the members of a Cluster tenant know of each other, and what follows: who takes the writes of a shard, which shards
//! hold a part of the data, and whether that is as it is wanted. Pure.

use super::{Member, Says};
use crate::tenant::names;

/// Of Redis: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.
const SLOTS: u32 = 16384;

/// What one member knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    nodes: Vec<Node>,
    has_keys: bool,
}

/// A node as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    id: String,
    /// Empty where it is not known.
    ip: String,
    is_self: bool,
    role: Role,
    /// The others agree that it is away.
    has_failed: bool,
    slots: u32,
    /// A slot of its own is being moved.
    is_open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Replica {
        /// Id of the one that it follows.
        of: String,
        /// It may take over (`cluster-replica-no-failover`).
        is_candidate: bool,
    },
}

impl View {
    /// Reads `CLUSTER NODES` (<https://redis.io/docs/latest/commands/cluster-nodes/>) and `INFO keyspace`.
    pub fn parse(nodes: &str, info: &str) -> Self {
        let has_keys = info.lines().any(|line| {
            line.strip_prefix("db").is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
        });
        Self { nodes: nodes.lines().filter_map(Node::parse).collect(), has_keys }
    }

    fn own(&self) -> Option<&Node> {
        self.nodes.iter().find(|it| it.is_self)
    }

    fn at(&self, ip: &str) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |it| it.ip == ip)
    }

    /// It belongs to no cluster, or to one that is only being begun.
    fn is_stranger(&self) -> bool {
        self.nodes.len() <= 1 && self.nodes.iter().all(|it| it.slots == 0)
    }

    /// It takes part in nothing that anybody could miss.
    fn is_empty(&self) -> bool {
        let Some(own) = self.own() else { return false };
        let leads_nothing = match &own.role {
            Role::Primary => own.slots == 0,
            Role::Replica { of, .. } => self.nodes.iter().any(|it| it.id == *of && it.slots == 0),
        };
        !self.has_keys && leads_nothing
    }
}

impl Node {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (id, address, flags, follows) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let has = |flag: &str| flags.split(',').any(|it| it == flag);
        // It has only been called so far, under an id that is not its own.
        if has("handshake") {
            return None;
        }
        let ip = address.split('@').next()?.rsplit_once(':')?.0;
        let (mut slots, mut is_open) = (0, false);
        // After the times of the last ping and pong, the epoch and the state of the link.
        for word in words.skip(4) {
            if word.starts_with('[') {
                is_open = true;
                continue;
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            slots += last.checked_sub(first)? + 1;
        }
        Some(Self {
            id: id.to_owned(),
            ip: ip.to_owned(),
            is_self: has("myself"),
            role: if has("master") {
                Role::Primary
            } else {
                Role::Replica { of: follows.to_owned(), is_candidate: !has("nofailover") }
            },
            has_failed: has("fail"),
            slots,
            is_open,
        })
    }

    fn holds(&self) -> bool {
        self.role == Role::Primary && self.slots > 0
    }
}

/// The member that takes the writes of a shard: by its own word, and by that of most who belong to the cluster.
pub fn primary(members: &[Member], shard: u8) -> Option<&Member> {
    let views = || members.iter().filter_map(|it| it.knows.as_ref());
    // Who does not answer votes if anybody knows it: else it was never there.
    let has_vote = |member: &&Member| match &member.knows {
        Some(view) => !view.is_stranger(),
        None => views().any(|view| view.at(&member.ip).next().is_some()),
    };
    let voters = members.iter().filter(has_vote).count();
    of_shard(members, shard).find(|member| {
        let says_so = member.knows.as_ref().and_then(View::own).is_some_and(Node::holds);
        let sees = |view: &&View| view.at(&member.ip).any(|it| it.holds() && !it.has_failed);
        says_so && views().filter(sees).count() * 2 > voters
    })
}

/// Whether this member has all that the primary of its shard has, and may take over.
pub fn is_in_sync(members: &[Member], member: &Member) -> bool {
    let leads = || {
        let shard = names::shard_of(&member.name)?;
        Some(&primary(members, shard)?.knows.as_ref()?.own()?.id)
    };
    let follows = match member.knows.as_ref().and_then(View::own).map(|it| &it.role) {
        Some(Role::Replica { of, is_candidate: true }) => leads() == Some(of),
        _ => false,
    };
    follows && matches!(member.says, Some(Says::Replica { in_sync: true, is_candidate: true }))
}

/// Whether it holds nothing, and is no copy of one that does.
pub fn is_empty(member: &Member) -> bool {
    member.knows.as_ref().is_some_and(View::is_empty)
}

/// Whether somebody says that this shard holds a part of the data.
pub fn holds(members: &[Member], shard: u8) -> bool {
    let mut views = members.iter().filter_map(|it| it.knows.as_ref());
    views.any(|view| of_shard(members, shard).any(|member| view.at(&member.ip).any(Node::holds)))
}

/// Whether every slot belongs to somebody.
pub fn is_formed(members: &[Member]) -> bool {
    assigned(members) == SLOTS
}

/// Slots whose data is gone for good: all members answer, and their owner is none of them, nor does any follow it. Those who belong
/// to the cluster must all say so: what only some say may be of before.
pub fn lost_slots(members: &[Member]) -> u32 {
    let views: Option<Vec<&View>> = members.iter().map(|it| it.knows.as_ref()).collect();
    let views = views.unwrap_or_default();
    let mut told = views.iter().filter(|view| !view.is_stranger());
    let is_gone = |owner: &&Node| {
        let follows = |node: &Node| matches!(&node.role, Role::Replica { of, .. } if *of == owner.id);
        owner.holds()
            && !views.iter().filter_map(|view| view.own()).any(|own| own.id == owner.id || follows(own))
    };
    let Some(first) = told.next() else { return 0 };
    let others: Vec<_> = told.collect();
    let say_all = |owner: &&Node| {
        others.iter().all(|view| view.nodes.iter().any(|it| it.id == owner.id && it.slots == owner.slots))
    };
    first.nodes.iter().filter(is_gone).filter(say_all).map(|owner| owner.slots).sum()
}

/// Whether the members of a shard all answer, and none belongs to a cluster or has data.
pub fn is_bare(members: &[Member], shard: u8) -> bool {
    of_shard(members, shard).next().is_some() && of_shard(members, shard).all(is_alone)
}

fn is_alone(member: &Member) -> bool {
    member.knows.as_ref().is_some_and(|view| view.is_stranger() && view.is_empty())
}

/// Whether nothing is left of a shard: its members are empty and know nobody, and nobody knows them. All must have said so, but
/// those that never ran.
pub fn is_gone(members: &[Member], shard: u8, never_ran: impl Fn(&Member) -> bool) -> bool {
    let of = || of_shard(members, shard);
    let knows_none = |member: &Member| {
        let view = member.knows.as_ref();
        view.is_some_and(|view| !of().any(|gone| view.at(&gone.ip).next().is_some()))
    };
    of().next().is_some()
        && of().all(|member| is_alone(member) || (member.knows.is_none() && never_ran(member)))
        && members.iter().filter(|it| names::shard_of(&it.name) != Some(shard)).all(knows_none)
}

/// What is to be done so that the data is spread over the first `wanted` shards and nobody else; none where it is. `leaving`
/// are those of which something is left. Only of use when all members have answered.
pub fn lacks(members: &[Member], wanted: u8, leaving: &[u8]) -> Option<String> {
    let assigned = assigned(members);
    if assigned == 0 {
        return Some(format!("form a cluster of {wanted} shards"));
    }
    let empty: Vec<u8> = (0..wanted).filter(|shard| !holds(members, *shard)).collect();
    if !empty.is_empty() {
        return Some(format!("give a part of the data to shard {}", list(&empty)));
    }
    if !leaving.is_empty() {
        return Some(format!("take the data from shard {}", list(leaving)));
    }
    if assigned < SLOTS {
        return Some("assign slots that nobody has".into());
    }
    let views = || members.iter().filter_map(|it| Some((&it.ip, it.knows.as_ref()?)));
    if has_open_slot(members) {
        return Some("finish the move of a slot".into());
    }
    // By their own word: a cluster that was begun and not joined has no primary that most agree on.
    let holding = || views().filter(|(_, view)| view.own().is_some_and(Node::holds));
    let knows_all = |view: &View| holding().all(|(ip, _)| view.at(ip).next().is_some());
    if !holding().all(|(_, view)| knows_all(view)) {
        return Some("make the shards known to each other".into());
    }
    let share = SLOTS / u32::from(wanted);
    let has = |shard: u8| primary(members, shard)?.knows.as_ref()?.own().map(|it| it.slots);
    let is_uneven = (0..wanted).filter_map(has).any(|slots| slots.abs_diff(share) > share / 8);
    is_uneven.then(|| "spread the data evenly over the shards".into())
}

/// Whether a slot is on its way, by the word of either end.
pub fn has_open_slot(members: &[Member]) -> bool {
    members.iter().filter_map(|it| it.knows.as_ref()?.own()).any(|it| it.is_open)
}

/// Slots that belong to somebody, as the one says who knows most.
fn assigned(members: &[Member]) -> u32 {
    let views = members.iter().filter_map(|it| it.knows.as_ref());
    views.map(|view| view.nodes.iter().map(|it| it.slots).sum()).max().unwrap_or_default()
}

fn of_shard(members: &[Member], shard: u8) -> impl Iterator<Item = &Member> {
    members.iter().filter(move |it| names::shard_of(&it.name) == Some(shard))
}

fn list(numbers: &[u8]) -> String {
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(crate) mod tests;
