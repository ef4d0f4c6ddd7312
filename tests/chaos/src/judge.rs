//! Asks `tests/linearizability` whether some order of the operations explains what was seen.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Stdio,
};

use keystead_cluster::tools::Tools;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::operation::Operation;

/// What the checker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub verdict: Judgement,
    pub keys: u64,
    pub operations: u64,
    pub unknown: u64,
    /// Each with its key and the operations that no order explains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    Linearizable,
    Violation,
    /// The time was not enough: no success.
    Undecided,
}

/// Checks these operations; the history stays in the file, for another look.
pub fn judge(operations: &[Operation], history: &Path) -> Verdict {
    let lines: Vec<String> = operations.iter().filter_map(Operation::history_line).collect();
    fs::create_dir_all(history.parent().expect("a file in a folder")).expect("making the history's folder");
    let mut file = File::create(history).expect("making the history's file");
    for line in lines {
        writeln!(file, "{line}").expect("writing the history");
    }
    let tools = Tools::only(&["linearizability"]).expect("building the checker");
    let output = tools
        .command("linearizability")
        .args(["-limit", "2m"])
        .stdin(File::open(history).expect("the history"))
        .stderr(Stdio::piped())
        .output()
        .expect("starting the checker");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("the checker gives no verdict ({}; {error}): {said}", output.status)
    })
}
