//! Who belongs to a group, and who names the one of them that takes the writes.

use std::{fmt, sync::Arc};

use crate::cluster::View;

/// What is done with what a member of a cluster knows of it.
pub(crate) type OnView = Arc<dyn Fn(&View) + Send + Sync>;

pub(crate) struct Roster {
    /// Every Redis that may be the primary, as `host:port`.
    pub(crate) members: Vec<String>,
    /// Redis that only answer reads, behind one address; none: the members that are not the primary do.
    pub(crate) readers: Option<String>,
    pub(crate) source: Source,
}

/// Who names the primary.
pub(crate) enum Source {
    /// Nobody: there is only one member.
    Alone,
    /// Sentinels at these addresses, which know it by this name.
    Sentinels { name: String, addresses: Vec<String> },
    /// The members, which are a shard of a cluster.
    Cluster(OnView),
}

impl Source {
    pub(super) fn no_primary(&self) -> &'static str {
        match self {
            Self::Alone => "there is no primary",
            Self::Sentinels { .. } => "the Sentinels name no primary that answers",
            Self::Cluster(_) => "the members of the shard name no primary that answers",
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Alone => "Alone",
            Self::Sentinels { .. } => "Sentinels",
            Self::Cluster(_) => "Cluster",
        })
    }
}
