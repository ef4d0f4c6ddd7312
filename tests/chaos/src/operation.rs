//! What one request asked for and what is known to have come of it.

use serde_json::{Value, json};

/// One request of the recorder. Times are nanoseconds since the recorder began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: u32,
    pub key: String,
    pub action: Action,
    pub outcome: Outcome,
    /// Of the entry, where the answer has one; else 0.
    pub version: u64,
    pub call: u64,
    pub returned: u64,
    /// For people: `200`, `503 redis_unavailable`, `no answer: timeout`.
    pub answer: String,
}

/// Numbers begin with 1, and none is written twice to one key: so a number stands for what an `ETag` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Write {
        input: u64,
    },
    /// `PUT` with `If-Match`: the tag that this client got together with the expected number.
    Cas {
        expected: u64,
        input: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A read saw this number; 0: there is no such key.
    Seen(u64),
    /// A write was acknowledged.
    Done,
    /// The condition did not hold.
    Refused,
    /// It has changed nothing.
    NotExecuted,
    /// It may have happened at any time since, or may yet, or never.
    Unknown,
}

impl Action {
    pub fn input(self) -> Option<u64> {
        match self {
            Self::Read => None,
            Self::Write { input } | Self::Cas { input, .. } => Some(input),
        }
    }
}

impl Operation {
    /// Whether it is a write that the client was promised.
    pub fn is_acknowledged_write(&self) -> bool {
        self.outcome == Outcome::Done
    }

    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::NotExecuted | Outcome::Unknown)
    }

    /// A line for the check of linearizability; none where the request says nothing about the key.
    pub fn history_line(&self) -> Option<String> {
        let (kind, input, expected) = match self.action {
            Action::Read => ("read", 0, 0),
            Action::Write { input } => ("write", input, 0),
            Action::Cas { expected, input } => ("cas", input, expected),
        };
        let mut line = json!({"client": self.client, "key": self.key, "kind": kind, "call": self.call});
        let mut set = |field: &str, value: Value| line[field] = value;
        if input > 0 {
            set("input", input.into());
        }
        if expected > 0 {
            set("expected", expected.into());
        }
        match self.outcome {
            Outcome::NotExecuted => return None,
            Outcome::Unknown if self.action == Action::Read => return None,
            Outcome::Unknown => set("outcome", "unknown".into()),
            Outcome::Refused => set("outcome", "refused".into()),
            Outcome::Done => set("outcome", "done".into()),
            Outcome::Seen(number) => {
                set("outcome", "done".into());
                set("output", number.into());
            }
        }
        if self.outcome != Outcome::Unknown {
            set("return", self.returned.into());
        }
        Some(line.to_string())
    }
}
