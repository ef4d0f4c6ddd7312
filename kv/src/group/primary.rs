//! Which member takes the writes: a function of what Sentinels and members have said, without I/O.

use std::collections::HashMap;

use redis::Value;

/// What a Sentinel says, or a member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// `host:port`
    pub(crate) address: String,
    /// The version of that statement: a failover raises it.
    pub(crate) epoch: u64,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Replica {
        /// `host:port` of its primary.
        of: String,
        /// Whether it hears from it.
        is_connected: bool,
    },
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Knowledge {
    members: Vec<String>,
    /// The last answer of each Sentinel; none where it did not answer.
    named: Vec<Option<Named>>,
    /// Whether it was asked at all.
    asked: Vec<bool>,
    roles: HashMap<String, Role>,
    /// The member that takes the writes.
    current: Option<String>,
    /// The primary of before; who begins anew without any Sentinel goes on with it.
    last: Option<Named>,
}

impl Knowledge {
    pub(super) fn new(members: Vec<String>, sentinels: usize, last: Option<Named>) -> Self {
        Self {
            members,
            named: vec![None; sentinels],
            asked: vec![false; sentinels],
            roles: HashMap::new(),
            current: None,
            last,
        }
    }

    /// A Sentinel has answered, or not.
    pub(super) fn heard(&mut self, sentinel: usize, answer: Option<Named>) {
        if let (Some(place), Some(asked)) = (self.named.get_mut(sentinel), self.asked.get_mut(sentinel)) {
            *place = answer;
            *asked = true;
        }
    }

    /// Whom the Sentinels name: the newest statement counts. One that is older than what was true before counts only where
    /// most of the Sentinels are heard: they have forgotten, and not just one of them.
    fn named(&self) -> Option<&Named> {
        let votes = |named: &Named| self.named.iter().flatten().filter(|it| *it == named).count();
        let heard = self.named.iter().flatten().count();
        let known = self.last.as_ref().map_or(0, |last| last.epoch);
        self.named
            .iter()
            .flatten()
            .filter(|named| self.members.contains(&named.address))
            .max_by_key(|named| (named.epoch, votes(named)))
            .filter(|named| named.epoch >= known || 2 * heard > self.named.len())
    }

    /// Where the primary of now says to be a replica of another member: a planned hand-over, of which the Sentinels tell
    /// later.
    fn successor(&self) -> Option<&str> {
        match self.roles.get(self.current.as_ref()?)? {
            Role::Replica { of, .. } => self.members.iter().find(|it| *it == of).map(String::as_str),
            Role::Primary => None,
        }
    }

    /// Goes on with the primary of before where no Sentinel says anything.
    fn orphaned(&self) -> Option<&str> {
        let is_alone = self.current.is_none() && self.asked.iter().all(|it| *it) && self.named().is_none();
        self.last.as_ref().filter(|_| is_alone).map(|last| last.address.as_str())
    }

    /// The members that may become the primary of now, and have to say that they are one.
    pub(super) fn candidates(&self) -> Vec<String> {
        let named = self.named().map(|named| named.address.as_str());
        let all = [named, self.successor(), self.orphaned()];
        let mut others: Vec<String> = all
            .into_iter()
            .flatten()
            .filter(|address| Some(*address) != self.current.as_deref())
            .map(str::to_owned)
            .collect();
        others.dedup();
        others
    }

    /// A member has said what it is, or has not answered. Gives the primary where that is another one now.
    pub(super) fn said(&mut self, address: &str, role: Option<Role>) -> Option<String> {
        let is_primary = role == Some(Role::Primary);
        match role {
            Some(role) => self.roles.insert(address.to_owned(), role),
            None => self.roles.remove(address),
        };
        if !is_primary || !self.candidates().iter().any(|it| it == address) {
            return None;
        }
        let epoch = self.named().filter(|named| named.address == address).map(|named| named.epoch);
        let epoch = epoch.or(self.last.as_ref().map(|last| last.epoch)).unwrap_or(0);
        self.last = Some(Named { address: address.to_owned(), epoch });
        self.current = Some(address.to_owned());
        Some(address.to_owned())
    }

    pub(super) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    pub(super) fn last(&self) -> Option<&Named> {
        self.last.as_ref()
    }
}

/// `host:port`, as routes have it.
pub(crate) fn address(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What `ROLE` says.
pub(super) fn role_of(answer: &[Value]) -> Option<Role> {
    let text = |at: usize| match answer.get(at)? {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text.as_str()),
        _ => None,
    };
    match (text(0)?, answer) {
        ("master", _) => Some(Role::Primary),
        ("slave", [_, _, Value::Int(port), state, ..]) => Some(Role::Replica {
            of: address(text(1)?, &port.to_string()),
            is_connected: *state == Value::BulkString(b"connected".to_vec()),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: [&str; 3] = ["a:1", "b:1", "c:1"];

    fn named(address: &str, epoch: u64) -> Named {
        Named { address: address.into(), epoch }
    }

    fn replica(of: &str) -> Role {
        Role::Replica { of: of.into(), is_connected: true }
    }

    fn knowledge(last: Option<Named>) -> Knowledge {
        Knowledge::new(MEMBERS.map(str::to_owned).to_vec(), 3, last)
    }

    /// One whose primary is `a` since epoch 4.
    fn settled() -> Knowledge {
        let mut all = knowledge(None);
        (0..3).for_each(|sentinel| all.heard(sentinel, Some(named("a:1", 4))));
        assert_eq!(all.said("a:1", Some(Role::Primary)).as_deref(), Some("a:1"));
        all
    }

    #[test]
    fn a_member_is_taken_when_it_is_named_and_says_so() {
        let mut all = knowledge(None);
        assert_eq!(all.said("a:1", Some(Role::Primary)), None, "nobody has named it");
        all.heard(1, Some(named("a:1", 0)));
        assert_eq!(all.candidates(), ["a:1"]);
        assert_eq!(all.said("a:1", Some(replica("b:1"))), None, "it says that it is none");
        assert_eq!(all.said("a:1", Some(Role::Primary)).as_deref(), Some("a:1"));
        assert_eq!((all.current(), all.candidates()), (Some("a:1"), vec![]));
    }

    #[test]
    fn the_newest_statement_counts_and_an_old_one_does_not_come_back() {
        let mut all = settled();
        all.heard(2, Some(named("b:1", 5)));
        assert_eq!(all.said("b:1", Some(Role::Primary)).as_deref(), Some("b:1"), "one that is newer");
        // Those that know of it fall silent; one is left that does not.
        all.heard(1, None);
        all.heard(2, None);
        assert_eq!(all.candidates(), Vec::<String>::new());
        assert_eq!(all.said("a:1", Some(Role::Primary)), None);
        // Most of them have forgotten.
        all.heard(1, Some(named("a:1", 4)));
        assert_eq!(all.said("a:1", Some(Role::Primary)).as_deref(), Some("a:1"));
    }

    #[test]
    fn a_stranger_is_refused_whatever_its_version() {
        let mut all = settled();
        all.heard(0, Some(named("x:1", 99)));
        assert_eq!(all.candidates(), Vec::<String>::new());
        assert_eq!(all.said("x:1", Some(Role::Primary)), None);
    }

    #[test]
    fn a_hand_over_is_known_from_the_old_primary_before_the_sentinels_tell() {
        let mut all = settled();
        assert_eq!(all.said("a:1", Some(replica("b:1"))), None);
        assert_eq!(all.candidates(), ["b:1"]);
        assert_eq!(all.said("b:1", Some(Role::Primary)).as_deref(), Some("b:1"));
        // The Sentinels still name the old one, which says itself that it is none.
        assert_eq!(all.candidates(), ["a:1"]);
        assert_eq!(all.said("a:1", Some(replica("b:1"))), None);
        (0..3).for_each(|sentinel| all.heard(sentinel, Some(named("b:1", 5))));
        assert_eq!((all.current(), all.candidates()), (Some("b:1"), vec![]));

        let mut all = settled();
        all.said("a:1", Some(replica("x:1")));
        assert_eq!(all.candidates(), Vec::<String>::new(), "of a stranger");
    }

    #[test]
    fn without_sentinels_the_primary_stays_and_nobody_becomes_one() {
        let mut all = settled();
        (0..3).for_each(|sentinel| all.heard(sentinel, None));
        assert_eq!((all.current(), all.candidates()), (Some("a:1"), vec![]));
        // Also for who was idle meanwhile; but first the Sentinels are asked.
        let mut again = knowledge(all.last().cloned());
        assert_eq!(again.candidates(), Vec::<String>::new());
        (0..3).for_each(|sentinel| again.heard(sentinel, None));
        assert_eq!(again.said("b:1", Some(Role::Primary)), None);
        assert_eq!(again.said("a:1", Some(Role::Primary)).as_deref(), Some("a:1"));
    }

    #[test]
    fn a_role_is_read() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let primary = [text("master"), Value::Int(7), Value::Array(Vec::new())];
        assert_eq!(role_of(&primary), Some(Role::Primary));
        let replica = |host, state| [text("slave"), text(host), Value::Int(6379), text(state), Value::Int(7)];
        let role = |of: &str, is_connected| Some(Role::Replica { of: of.into(), is_connected });
        assert_eq!(role_of(&replica("10.0.0.1", "connected")), role("10.0.0.1:6379", true));
        assert_eq!(role_of(&replica("fd00::1", "connect")), role("[fd00::1]:6379", false));
        assert_eq!(role_of(&[]), None);
    }
}
