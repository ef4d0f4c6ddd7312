//! The key that keeps a script from half of what it needs.

use redis::{Arg, Cmd};

use crate::group::calls_script;

/// The call with one more key, of the same slot, that never exists: a member of which the slot is just being moved refuses
/// commands of several keys that are not all there (`TRYAGAIN`, `ASK`). So a script, which touches keys that it does not name, is
/// carried out where all of them are, or not at all. None for what is no script.
pub(super) fn guarded(command: &Cmd) -> Option<Cmd> {
    if !calls_script(command) {
        return None;
    }
    let arguments: Vec<&[u8]> = command
        .args_iter()
        .map(|argument| match argument {
            Arg::Simple(bytes) => bytes,
            _ => &[],
        })
        .collect();
    let [name, hash, count, rest @ ..] = &arguments[..] else { return None };
    let count: usize = str::from_utf8(count).ok()?.parse().ok()?;
    let (keys, rest) = rest.split_at_checked(count)?;
    let first = keys.first()?;
    let brace = first.iter().position(|byte| *byte == b'}')?;
    let guard = [&first[..=brace], b":guard"].concat();
    let bytes = arguments.iter().map(|argument| argument.len()).sum::<usize>() + guard.len() + 8;
    let mut call = Cmd::with_capacity(arguments.len() + 1, bytes);
    call.arg(name).arg(hash).arg(count + 1).arg(keys).arg(guard).arg(rest);
    Some(call)
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn a_script_gets_one_key_more_behind_its_own() {
        let mut call = cmd("EVALSHA");
        call.arg("hash").arg(2).arg("kv:{7}:e:a}").arg("kv:{7}:i").arg("a").arg(b"\xff\0");
        let mut expected = cmd("EVALSHA");
        expected
            .arg("hash")
            .arg(3)
            .arg("kv:{7}:e:a}")
            .arg("kv:{7}:i")
            .arg("kv:{7}:guard")
            .arg("a")
            .arg(b"\xff\0");
        assert_eq!(guarded(&call).unwrap().get_packed_command(), expected.get_packed_command());
        assert!(guarded(cmd("GET").arg("kv:{7}:e:a")).is_none());
    }
}
