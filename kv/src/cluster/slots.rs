//! Which shard has which slot, as far as is known. It is a hint: whoever comes to a wrong one is told so, and mends it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU8, Ordering},
};

use keystead_usage::{SLOTS, slot};
use redis::{Arg, Cmd};
use tokio::sync::watch;

use super::view::View;

/// Most shards that can be told apart.
pub(super) const MAX_SHARDS: usize = u8::MAX as usize;
/// Nobody has said who has it.
const UNKNOWN: u8 = u8::MAX;

pub(super) struct Slots {
    shards: Box<[AtomicU8]>,
    members: HashMap<String, u8>,
    changes: watch::Sender<u64>,
}

impl Slots {
    /// By shard, its members' addresses.
    pub(super) fn new(shards: &[Vec<String>]) -> Self {
        let members = shards
            .iter()
            .zip(0..UNKNOWN)
            .flat_map(|(members, shard)| members.iter().map(move |address| (address.clone(), shard)));
        Self {
            shards: (0..SLOTS).map(|_| AtomicU8::new(UNKNOWN)).collect(),
            members: members.collect(),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn shard(&self, slot: u16) -> Option<usize> {
        let shard = self.shards.get(usize::from(slot))?.load(Ordering::Acquire);
        (shard != UNKNOWN).then_some(usize::from(shard))
    }

    /// The shard whose member is at this address; none for a stranger.
    pub(super) fn of(&self, address: &str) -> Option<usize> {
        self.members.get(address).copied().map(usize::from)
    }

    /// A member has told where a slot is; whether it was thought to be elsewhere.
    pub(super) fn mend(&self, slot: u16, shard: usize) -> bool {
        let was_elsewhere = self.set(slot, u8::try_from(shard).unwrap_or(UNKNOWN));
        self.changes.send_modify(|number| *number += 1);
        was_elsewhere
    }

    /// Takes over what a member says of itself, and of others where nothing is known; whether a slot was thought to be elsewhere.
    pub(super) fn see(&self, view: &View) -> bool {
        let mut was_elsewhere = false;
        for node in &view.nodes {
            let Some(shard) = self.members.get(&node.address) else { continue };
            for slot in node.slots.iter().cloned().flatten() {
                if node.is_asked || self.shard(slot).is_none() {
                    was_elsewhere |= self.set(slot, *shard);
                }
            }
        }
        self.changes.send_modify(|number| *number += 1);
        was_elsewhere
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.shards.iter().for_each(|shard| shard.store(UNKNOWN, Ordering::Release));
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn set(&self, slot: u16, shard: u8) -> bool {
        let Some(place) = self.shards.get(usize::from(slot)) else { return false };
        // Mostly nothing has changed.
        if place.load(Ordering::Acquire) == shard {
            return false;
        }
        place.swap(shard, Ordering::AcqRel) != UNKNOWN
    }
}

/// The slot of the first key of a command; none where it has no key.
pub(super) fn slot_of(command: &Cmd) -> Option<u16> {
    first_key(command).map(slot)
}

/// `<name> <key> …`, or `EVALSHA <hash> <count> <key> …`: this crate sends no other with a key.
fn first_key(command: &Cmd) -> Option<&[u8]> {
    let mut arguments = command.args_iter().map(|argument| match argument {
        Arg::Simple(bytes) => bytes,
        _ => &[],
    });
    match arguments.next()? {
        b"PING" | b"INFO" | b"CLIENT" | b"SCRIPT" | b"ASKING" | b"ROLE" => None,
        b"EVALSHA" => arguments.nth(2),
        _ => arguments.next(),
    }
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn a_command_goes_where_its_first_key_is() {
        let mut call = cmd("EVALSHA");
        call.arg("hash").arg(2).arg("kv:{0}:e:a").arg("kv:{0}:i").arg("a");
        assert_eq!(first_key(&call), Some(&b"kv:{0}:e:a"[..]));
        assert_eq!(first_key(cmd("GET").arg("k")), Some(&b"k"[..]));
        assert_eq!(first_key(&cmd("PING")), None);
    }

    #[test]
    fn a_slot_is_where_its_shard_says_and_else_where_others_do() {
        let slots = Slots::new(&[vec!["a:1".into(), "b:1".into()], vec!["c:1".into()]]);
        let view = "x a:1@2 myself,master - 0 0 1 connected 0-9\ny c:1@2 master - 0 0 2 connected 10-19\n\
            z s:1@2 master - 0 0 2 connected 20-29\n";
        assert!(!slots.see(&View::of(view, "a:1")), "nothing was known");
        assert_eq!([0, 9, 10, 20].map(|slot| slots.shard(slot)), [Some(0), Some(0), Some(1), None]);
        let later = "y c:1@2 myself,master - 0 0 3 connected 9-19\nx a:1@2 master - 0 0 1 connected 0-8\n";
        assert!(slots.see(&View::of(later, "c:1")));
        assert_eq!(slots.shard(9), Some(1));
        slots.see(&View::of("y c:1@2 master - 0 0 3 connected 0-19\n", "b:1"));
        assert_eq!(slots.shard(0), Some(0), "hearsay");
        assert!(slots.mend(0, 1) && slots.shard(0) == Some(1));
        slots.forget();
        assert_eq!((slots.shard(0), slots.of("b:1"), slots.of("s:1")), (None, Some(0), None));
    }
}
