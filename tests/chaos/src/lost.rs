//! Acknowledged writes that are gone. A function of recorded values.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::operation::{Operation, Outcome};

/// Acknowledged writes of one key that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    pub key: String,
    /// How many.
    pub writes: usize,
    pub because: String,
}

/// What was acknowledged and is not there any more. Each key has one writer with rising numbers, which leaves it after
/// a write of unknown outcome.
///
/// That a key holds its last acknowledged number at the end tells nothing of those before: a loss in the middle is
/// overwritten. So the versions count as well, which rise with every write that is there: a write that finds an older
/// version than the one before it left has found that one gone.
pub fn lost(writes: &[Operation], found: &BTreeMap<String, u64>) -> Vec<Lost> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for write in writes {
        keys.entry(&write.key).or_default().push(write);
    }
    let mut lost = Vec::new();
    for (key, mut writes) in keys {
        writes.sort_by_key(|write| write.call);
        let mut tell =
            |writes: usize, because: String| lost.push(Lost { key: key.to_owned(), writes, because });
        // Number and version of what is still there, the newest last.
        let mut there: Vec<(u64, u64)> = Vec::new();
        for write in writes.iter().filter(|write| write.is_acknowledged_write()) {
            let (number, version) = (write.action.input().unwrap_or_default(), write.version);
            let gone = there.iter().filter(|(_, before)| *before >= version).count();
            if gone > 0 {
                let (previous, before) = there[there.len() - 1];
                tell(
                    gone,
                    format!("{number} was written as version {version} after {previous} as version {before}"),
                );
                there.truncate(there.len() - gone);
            }
            there.push((number, version));
        }
        let found = found.get(key).copied().unwrap_or_default();
        let is_unknown =
            |write: &&Operation| write.action.input() == Some(found) && write.outcome == Outcome::Unknown;
        let gone = there.iter().filter(|(number, _)| *number > found).count();
        if gone > 0 {
            tell(
                gone,
                format!("it holds {found} (0: nothing) after {} was acknowledged", there[there.len() - 1].0),
            );
        } else if found > 0
            && !there.iter().any(|(number, _)| *number == found)
            && !writes.iter().any(is_unknown)
        {
            tell(0, format!("it holds {found}, which was said not to have been written"));
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Action;

    /// Number, version (0: not acknowledged).
    fn writes(key: &str, of: &[(u64, u64)], outcome_of_others: Outcome) -> Vec<Operation> {
        of.iter()
            .map(|(input, version)| Operation {
                client: 0,
                key: key.to_owned(),
                action: Action::Write { input: *input },
                outcome: if *version > 0 { Outcome::Done } else { outcome_of_others },
                version: *version,
                call: *input,
                returned: input + 1,
                answer: String::new(),
            })
            .collect()
    }

    fn told(writes: &[Operation], found: u64) -> Vec<(usize, String)> {
        let found = BTreeMap::from([("k".to_owned(), found)]);
        lost(writes, &found).into_iter().map(|lost| (lost.writes, lost.because)).collect()
    }

    #[test]
    fn what_is_there_is_not_lost() {
        let kept = writes("k", &[(1, 1), (4, 2), (9, 3)], Outcome::Unknown);
        assert_eq!(told(&kept, 9), []);
        // A write that was refused, or done although nobody was told, leaves a hole at most.
        assert_eq!(told(&writes("k", &[(1, 1), (2, 0), (3, 3)], Outcome::NotExecuted), 3), []);
        assert_eq!(told(&writes("k", &[(1, 0)], Outcome::Unknown), 0), []);
    }

    #[test]
    fn what_is_older_than_the_last_acknowledged_number_is_lost() {
        let kept = writes("k", &[(1, 1), (4, 2), (9, 3)], Outcome::Unknown);
        assert_eq!(told(&kept, 4), [(1, "it holds 4 (0: nothing) after 9 was acknowledged".to_owned())]);
        assert_eq!(told(&kept, 0)[0].0, 3);
    }

    #[test]
    fn a_loss_that_was_overwritten_is_lost_as_well() {
        let again = writes("k", &[(1, 1), (4, 2), (9, 3), (12, 2), (15, 3)], Outcome::Unknown);
        assert_eq!(told(&again, 15), [(2, "12 was written as version 2 after 9 as version 3".to_owned())]);
        let anew = writes("k", &[(1, 1), (4, 2), (9, 1)], Outcome::Unknown);
        assert_eq!(told(&anew, 9)[0].0, 2);
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not_and_no_other_number() {
        let unknown = writes("k", &[(1, 1), (3, 0)], Outcome::Unknown);
        assert_eq!((told(&unknown, 1).len(), told(&unknown, 3).len()), (0, 0));
        let refused = writes("k", &[(1, 1), (3, 0)], Outcome::NotExecuted);
        assert_eq!(
            told(&refused, 3),
            [(0, "it holds 3, which was said not to have been written".to_owned())]
        );
        assert_eq!(told(&unknown, 7).len(), 1);
    }
}
