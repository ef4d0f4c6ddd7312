//! Where a member of a cluster sends a request to that is not its own.

use redis::{Arg, Cmd, ErrorKind, ServerErrorKind};

use super::{Group, Source, commit::Answers, primary::address};
use crate::error::Failed;

/// What a member says who does not have a key. Nothing was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// This one has its slot.
    Moved(String),
    /// The slot is being moved to this one, and the key is there, or nowhere.
    Ask(String),
}

/// None where it says anything else.
pub(crate) fn redirect(failed: &Failed) -> Option<Redirect> {
    let Failed::Redis(error) = failed else { return None };
    let (node, _) = error.redirect_node()?;
    let (host, port) = node.rsplit_once(':')?;
    // An address of the sixth version stands there without brackets.
    let to = address(host.trim_matches(['[', ']']), port);
    Some(match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => Redirect::Moved(to),
        _ => Redirect::Ask(to),
    })
}

/// Whether it calls a script.
pub(crate) fn calls_script(command: &Cmd) -> bool {
    matches!(command.args_iter().next(), Some(Arg::Simple(b"EVALSHA")))
}

impl Group {
    /// What a refusal means here. A slot that another member of the same shard has: that one has become the primary. A script
    /// waits until its slot was moved: until then some of what it needs is here, and some there.
    pub(super) fn settled(&self, failed: Failed, command: &Cmd) -> Failed {
        if !matches!(self.roster.source, Source::Cluster(_)) {
            return failed;
        }
        match redirect(&failed) {
            Some(Redirect::Moved(to)) if self.roster.members.contains(&to) => {
                Failed::NotSent("another member has become the primary".into())
            }
            Some(Redirect::Ask(_)) if calls_script(command) => {
                Failed::NotSent("its slot is being moved to another shard".into())
            }
            _ => failed,
        }
    }

    /// The same for each of many.
    pub(super) fn all_settled(&self, mut answers: Answers, commands: &[&Cmd]) -> Answers {
        if !matches!(self.roster.source, Source::Cluster(_)) {
            return answers;
        }
        for (answer, command) in answers.iter_mut().zip(commands) {
            if let Err(failed) = answer {
                *failed = self.settled(failed.clone(), command);
            }
        }
        answers
    }
}
