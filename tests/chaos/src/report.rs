//! The figures of a run: JSON for machines, a table for people.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    check::{failures, write_gap},
    judge::{Judgement, Verdict},
    lost::{Lost, lost},
    operation::Operation,
    recorder::Recording,
};

/// One fault under load.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    pub fault: String,
    pub requests: usize,
    pub acknowledged: usize,
    /// The longest time without an acknowledged write, from the fault to the recovery.
    pub write_gap_ms: u64,
    /// From the fault until all members were as before.
    pub recovered_ms: u64,
    /// By status and code.
    pub failed: BTreeMap<String, u64>,
    pub lost: Vec<Lost>,
    pub linearizability: Verdict,
}

impl Round {
    /// What was recorded, with a fault at `from` that was over for the tenant at `until`.
    pub fn of(fault: &str, recording: &Recording, from: u64, until: u64, linearizability: Verdict) -> Self {
        let operations = recording.operations();
        let milliseconds = |nanoseconds: u64| nanoseconds / 1_000_000;
        Self {
            fault: fault.to_owned(),
            requests: operations.len(),
            acknowledged: operations.iter().filter(|it| Operation::is_acknowledged_write(it)).count(),
            write_gap_ms: milliseconds(write_gap(&operations, from, until)),
            recovered_ms: milliseconds(until - from),
            failed: failures(&operations),
            lost: lost(&recording.counters, &recording.found),
            linearizability,
        }
    }

    /// Acknowledged and gone.
    pub fn lost_writes(&self) -> usize {
        self.lost.iter().map(|lost| lost.writes).sum()
    }

    /// What a durable tenant was promised and did not get; none: all is well.
    pub fn broken_promise(&self) -> Option<String> {
        let mut broken = Vec::new();
        if !self.lost.is_empty() {
            broken.push(format!("{} acknowledged writes lost: {:#?}", self.lost_writes(), self.lost));
        }
        let verdict = &self.linearizability;
        if verdict.verdict != Judgement::Linearizable {
            let shown = serde_json::to_string_pretty(verdict).expect("it serialises");
            broken.push(format!("not known to be linearizable: {shown}"));
        }
        (!broken.is_empty()).then(|| format!("{}: {}", self.fault, broken.join("; ")))
    }
}

/// All rounds of one tenant.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub title: String,
    pub rounds: Vec<Round>,
}

/// Where results go: `target/chaos` of this tree.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/chaos"))
}

impl Report {
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), rounds: Vec::new() }
    }

    /// Keeps a round, prints its figures, and writes all so far: a run that ends early leaves what it has.
    pub fn add(&mut self, round: Round, file: &Path) {
        println!(
            "{}: {} of {} requests acknowledged as written, write gap {} ms, recovered after {} ms, failed {:?}, lost {}, {:?}",
            round.fault,
            round.acknowledged,
            round.requests,
            round.write_gap_ms,
            round.recovered_ms,
            round.failed,
            round.lost_writes(),
            round.linearizability.verdict
        );
        self.rounds.push(round);
        fs::create_dir_all(file.parent().expect("a file in a folder")).expect("making the report's folder");
        fs::write(file, serde_json::to_string_pretty(self).expect("it serialises"))
            .expect("writing the report");
    }

    /// Every promise that was not kept.
    pub fn broken_promises(&self) -> Vec<String> {
        self.rounds.iter().filter_map(Round::broken_promise).collect()
    }
}

impl fmt::Display for Report {
    /// Markdown: a row for each fault, over its rounds.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n### {}\n", self.title)?;
        writeln!(
            out,
            "| fault | rounds | write gap, median and longest | failed requests | lost of acknowledged | linearizable |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        let mut faults: Vec<&str> = Vec::new();
        for round in &self.rounds {
            if !faults.contains(&&*round.fault) {
                faults.push(&round.fault);
            }
        }
        for fault in faults {
            let rounds: Vec<&Round> = self.rounds.iter().filter(|round| round.fault == fault).collect();
            let mut gaps: Vec<u64> = rounds.iter().map(|round| round.write_gap_ms).collect();
            gaps.sort_unstable();
            let mut failed: BTreeMap<&str, u64> = BTreeMap::new();
            for (answer, count) in rounds.iter().flat_map(|round| &round.failed) {
                *failed.entry(answer).or_default() += count;
            }
            let failed: Vec<String> =
                failed.iter().map(|(answer, count)| format!("{count} × {answer}")).collect();
            let linearizable =
                rounds.iter().filter(|it| it.linearizability.verdict == Judgement::Linearizable).count();
            writeln!(
                out,
                "| {fault} | {} | {} and {} ms | {} | {} of {} | {linearizable} of {} |",
                rounds.len(),
                u64::midpoint(gaps[(gaps.len() - 1) / 2], gaps[gaps.len() / 2]),
                gaps[gaps.len() - 1],
                if failed.is_empty() { "none".to_owned() } else { failed.join(", ") },
                rounds.iter().map(|round| round.lost_writes()).sum::<usize>(),
                rounds.iter().map(|round| round.acknowledged).sum::<usize>(),
                rounds.len()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(gap: u64, lost: usize, verdict: Judgement) -> Round {
        Round {
            fault: "kill".into(),
            requests: 120,
            acknowledged: 100,
            write_gap_ms: gap,
            recovered_ms: 9000,
            failed: BTreeMap::from([("503 redis_unavailable".to_owned(), 3)]),
            lost: vec![Lost { key: "k".into(), writes: 2, because: "it is gone".into() }; lost],
            linearizability: Verdict {
                verdict,
                keys: 1,
                operations: 10,
                unknown: 0,
                violations: Vec::new(),
                undecided: Vec::new(),
            },
        }
    }

    #[test]
    fn a_row_sums_its_rounds_up() {
        let mut report = Report::new("acme");
        report.rounds = vec![
            round(2500, 0, Judgement::Linearizable),
            round(1900, 1, Judgement::Linearizable),
            round(2000, 0, Judgement::Violation),
        ];
        let table = report.to_string();
        let row = table.lines().last().unwrap();
        assert_eq!(row, "| kill | 3 | 2000 and 2500 ms | 9 × 503 redis_unavailable | 2 of 300 | 2 of 3 |");
        assert_eq!(report.broken_promises().len(), 2);
    }

    #[test]
    fn what_is_undecided_is_no_success() {
        assert!(round(1, 0, Judgement::Linearizable).broken_promise().is_none());
        assert!(
            round(1, 0, Judgement::Undecided).broken_promise().is_some_and(|told| told.contains("undecided"))
        );
    }
}
