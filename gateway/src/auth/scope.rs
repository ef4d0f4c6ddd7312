//! What a credential may be used for.

/// One permission; every route names the one that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    KvRead,
    KvWrite,
    JobsRead,
    JobsWrite,
    /// API keys, and accounts where sign-up is closed.
    Admin,
}

impl Scope {
    /// What a tenant's owner may do.
    pub(crate) const ALL: [Self; 5] =
        [Self::KvRead, Self::KvWrite, Self::JobsRead, Self::JobsWrite, Self::Admin];
    /// What a user may do who has registered without anybody's leave.
    pub(crate) const OF_USERS: [Self; 4] = [Self::KvRead, Self::KvWrite, Self::JobsRead, Self::JobsWrite];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::KvRead => "kv:read",
            Self::KvWrite => "kv:write",
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    /// All words, for a message.
    pub(crate) fn words() -> String {
        Self::ALL.map(Self::word).join(", ")
    }
}

/// Several permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scopes {
    pub(crate) const ALL: Self = Self(0b1_1111);

    /// Words that nobody knows permit nothing.
    pub(crate) fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(words.into_iter().filter_map(Scope::parse).fold(0, |all, scope| all | 1 << scope as u8))
    }

    pub(crate) fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    pub(crate) fn words(self) -> Vec<&'static str> {
        Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(Scope::word).collect()
    }
}
