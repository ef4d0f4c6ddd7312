//! Failed requests and the time without writes. Functions of recorded values.

use std::collections::BTreeMap;

use crate::operation::Operation;

/// How often each answer came that was no success.
pub fn failures(operations: &[Operation]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.is_failure()) {
        *counts.entry(operation.answer.clone()).or_default() += 1;
    }
    counts
}

/// The longest time between two acknowledged writes that touches this span, in nanoseconds. Where none came after
/// the span, it counts to its end.
pub fn write_gap(operations: &[Operation], from: u64, until: u64) -> u64 {
    let written = operations.iter().filter(|operation| operation.is_acknowledged_write());
    let mut times: Vec<u64> = written.map(|write| write.returned).collect();
    times.sort_unstable();
    let before = times.iter().rfind(|time| **time <= from).copied().unwrap_or(from);
    let after = times.iter().find(|time| **time >= until).copied().unwrap_or(until);
    let within = times.into_iter().filter(|time| (from..until).contains(time));
    let times: Vec<u64> = [before].into_iter().chain(within).chain([after]).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Action, Outcome};

    fn write(key: &str, input: u64, outcome: Outcome, returned: u64) -> Operation {
        let action = Action::Write { input };
        let answer = if outcome == Outcome::Done { "200" } else { "503 x" }.to_owned();
        Operation {
            client: 0,
            key: key.to_owned(),
            action,
            outcome,
            version: 1,
            call: returned - 1,
            returned,
            answer,
        }
    }

    #[test]
    fn the_gap_is_the_longest_that_touches_the_span() {
        let done = |returned| write("k", returned, Outcome::Done, returned);
        let writes =
            [done(10), done(500), done(510), done(900), done(910), write("k", 700, Outcome::Unknown, 700)];
        assert_eq!(write_gap(&writes, 505, 905), 390);
        // The gap before the span is none of it; one that begins before it is.
        assert_eq!(write_gap(&writes, 505, 509), 10);
        assert_eq!(write_gap(&writes, 520, 530), 390);
        // Writes never came back.
        assert_eq!(write_gap(&writes, 905, 2000), 1090);
        assert_eq!(write_gap(&[], 5, 25), 20);
    }

    #[test]
    fn failures_are_counted_by_answer() {
        let writes = [
            write("k", 1, Outcome::Done, 10),
            write("k", 2, Outcome::Unknown, 20),
            write("k", 3, Outcome::NotExecuted, 30),
        ];
        assert_eq!(failures(&writes), BTreeMap::from([("503 x".to_owned(), 2)]));
    }
}
