//! Lua scripts: one file each under `lua/`, known to Redis by their SHA-1.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs};

/// How often a script is loaded for one call: each time another primary may have come in between.
pub(crate) const LOADS: usize = 3;

/// A script and the hash by which Redis calls it.
#[derive(Debug)]
pub(crate) struct Script {
    /// For people.
    pub(crate) name: &'static str,
    code: &'static str,
    hash: LazyLock<String>,
}

impl Script {
    pub(crate) const fn new(name: &'static str, code: &'static str, hash: fn() -> String) -> Self {
        Self { name, code, hash: LazyLock::new(hash) }
    }

    /// The command that makes it known.
    pub(crate) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.code);
        load
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

/// A script with its keys and arguments.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) script: &'static Script,
    pub(crate) command: Cmd,
}

impl Call {
    pub(crate) fn new(script: &'static Script, keys: &[&[u8]]) -> Self {
        Self::sized(script, keys, 128)
    }

    /// With room for arguments of so many bytes.
    pub(crate) fn sized(script: &'static Script, keys: &[&[u8]], bytes: usize) -> Self {
        let of_keys: usize = keys.iter().map(|key| key.len()).sum();
        let mut command = Cmd::with_capacity(3 + keys.len() + 12, 64 + of_keys + bytes);
        command.arg("EVALSHA").arg(script.hash()).arg(keys.len()).arg(keys);
        Self { script, command }
    }

    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }
}

/// Declares scripts; those after a `+` begin with the shared functions of `lua/lib/`.
macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)*) => {
        $(pub(crate) static $name: $crate::script::Script = {
            const CODE: &str = concat!($(include_str!(concat!("../lua/", $file))),+);
            $crate::script::Script::new(stringify!($name), CODE, || redis::Script::new(CODE).get_hash().to_owned())
        };)*

        #[cfg(test)]
        static ALL: &[&$crate::script::Script] = &[$(&$name),*];
    };
}

scripts! {
    WRITE = "lib/refuse_when_full.lua" "lib/forget.lua" "lib/entry.lua" "lib/put.lua" "write.lua";
    WRITE_MANY = "lib/refuse_when_full.lua" "lib/forget.lua" "lib/entry.lua" "lib/put.lua" "write_many.lua";
    INCREMENT = "lib/refuse_when_full.lua" "lib/forget.lua" "lib/entry.lua" "increment.lua";
    RESEAL = "lib/refuse_when_full.lua" "lib/entry.lua" "reseal.lua";
    SET_TTL = "lib/allow_when_full.lua" "lib/entry.lua" "set_ttl.lua";
    DELETE = "lib/forget.lua" "delete.lua";
    SWEEP = "lib/forget.lua" "sweep.lua";
    COUNT = "lib/only_read.lua" "count.lua";
    LIST = "lib/only_read.lua" "lib/read.lua" "list.lua";
    LIST_TAGGED = "lib/only_read.lua" "lib/read.lua" "list_tagged.lua";
    API_KEY_CREATE = "api_key_create.lua";
    API_KEY_REPLACE = "api_key_replace.lua";
    FEED_FOLLOW = "lib/allow_when_full.lua" "feed_follow.lua";
    ACCOUNT_CREATE = "account_create.lua";
    LOGIN_BEGIN = "lib/allow_when_full.lua" "login_begin.lua";
    REFRESH_ISSUE = "lib/allow_when_full.lua" "refresh_issue.lua";
    REFRESH_ROTATE = "lib/allow_when_full.lua" "refresh_rotate.lua";
    AUDIT_APPEND = "lib/refuse_when_full.lua" "audit/append.lua";
    AUDIT_EXCHANGE = "lib/allow_when_full.lua" "audit/append.lua";
    AUDIT_UNSENT = "lib/only_read.lua" "audit/unsent.lua";
    AUDIT_SENT = "lib/allow_when_full.lua" "audit/sent.lua";
    REQUEST_FORGET = "lib/allow_when_full.lua" "request_forget.lua";
    ACTIVITY = "lib/allow_when_full.lua" "activity.lua";
    JOB_ENQUEUE = "queue/lib.lua" "queue/enqueue.lua";
    JOB_FETCH = "lib/allow_when_full.lua" "queue/lib.lua" "queue/fetch.lua";
    JOB_RENEW = "lib/allow_when_full.lua" "queue/lib.lua" "queue/renew.lua";
    JOB_FINISH = "lib/allow_when_full.lua" "queue/lib.lua" "queue/finish.lua";
    JOB_CANCEL = "queue/lib.lua" "queue/cancel.lua";
    JOB_RETRY = "queue/lib.lua" "queue/retry.lua";
    JOB_REPORT = "lib/allow_when_full.lua" "queue/lib.lua" "queue/report.lua";
    JOB_LEAVE = "lib/refuse_when_full.lua" "queue/lib.lua" "queue/leave.lua";
    INPUT_PART = "lib/refuse_when_full.lua" "queue/lib.lua" "queue/input_part.lua";
    DROP_PARTS = "lib/allow_when_full.lua" "queue/lib.lua" "queue/drop_parts.lua";
    SCHEDULE_PUT = "queue/lib.lua" "queue/schedule_put.lua";
    SCHEDULE_REMOVE = "lib/allow_when_full.lua" "queue/lib.lua" "queue/schedule_remove.lua";
    SCHEDULES_DUE = "lib/only_read.lua" "queue/lib.lua" "queue/schedules_due.lua";
    SCHEDULE_RUN = "lib/refuse_when_full.lua" "queue/lib.lua" "queue/schedule_run.lua";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_calls_a_method_of_a_string() {
        // All users' scripts share one interpreter, and where CVE-2025-46818 is not mended one may change what `text:sub()` does.
        // The table `string` is read-only from Redis 7.0 on.
        let is_call = |rest: &str| {
            let behind = rest.trim_start_matches(|it: char| it.is_ascii_lowercase());
            behind.len() < rest.len() && behind.starts_with('(')
        };
        for script in ALL {
            let call = script.code.lines().find(|line| line.split(':').skip(1).any(is_call));
            assert_eq!(call, None, "{}: write string.sub(text, …)", script.name);
        }
    }

    #[test]
    fn scripts_for_workers_in_other_languages_are_ours() {
        macro_rules! published {
            ($($name:ident = $file:literal;)*) => {
                [$((&$name, $file, include_str!(concat!("../../docs/queue/", $file)))),*]
            };
        }
        for (script, file, text) in published! {
            JOB_ENQUEUE = "enqueue.lua";
            JOB_FETCH = "fetch.lua";
            JOB_RENEW = "renew.lua";
            JOB_REPORT = "report.lua";
            JOB_LEAVE = "leave.lua";
            JOB_FINISH = "finish.lua";
        } {
            assert!(
                script.code == text,
                "docs/queue/{file} is of another version: write into it, one behind the other, the files that `scripts!` names"
            );
        }
    }
}
