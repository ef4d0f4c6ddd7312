//! Lua scripts: one file each under `lua/`, known to Redis by their SHA-1.

use std::sync::LazyLock;

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
    pub(crate) fn load(&self) -> redis::Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.code);
        load
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

/// Declares scripts; those after a `+` begin with the shared functions of `lua/lib/`.
macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)*) => {
        $(pub(crate) static $name: $crate::script::Script = {
            const CODE: &str = concat!($(include_str!(concat!("../lua/", $file))),+);
            $crate::script::Script::new(stringify!($name), CODE, || redis::Script::new(CODE).get_hash().to_owned())
        };)*
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
    COUNT = "count.lua";
    LIST = "lib/read.lua" "list.lua";
    LIST_TAGGED = "lib/read.lua" "list_tagged.lua";
    API_KEY_CREATE = "api_key_create.lua";
    API_KEY_REPLACE = "api_key_replace.lua";
    FEED_FOLLOW = "lib/allow_when_full.lua" "feed_follow.lua";
    ACCOUNT_CREATE = "account_create.lua";
    LOGIN_BEGIN = "lib/allow_when_full.lua" "login_begin.lua";
    REFRESH_ISSUE = "lib/allow_when_full.lua" "refresh_issue.lua";
    REFRESH_ROTATE = "lib/allow_when_full.lua" "refresh_rotate.lua";
    JOB_ENQUEUE = "queue/lib.lua" "queue/enqueue.lua";
    JOB_FETCH = "lib/allow_when_full.lua" "queue/lib.lua" "queue/fetch.lua";
    JOB_RENEW = "lib/allow_when_full.lua" "queue/lib.lua" "queue/renew.lua";
    JOB_FINISH = "queue/lib.lua" "queue/finish.lua";
    JOB_CANCEL = "queue/lib.lua" "queue/cancel.lua";
    JOB_RETRY = "queue/lib.lua" "queue/retry.lua";
}
