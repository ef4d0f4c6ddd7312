//! How a Sentinel sees a `Replicated` tenant.

/// What one Sentinel sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) primary: String,
    primary_flags: String,
    other_sentinels: String,
    /// Flags and the state of the link to the primary.
    replicas: Vec<(String, String)>,
}

impl View {
    /// From what redis-cli prints: names and values in turn, a line each.
    pub(super) fn of(primary: &str, replicas: &str) -> Self {
        let pairs = |text: &str| -> Vec<(String, String)> {
            let lines: Vec<&str> = text.lines().collect();
            lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
        };
        let (primary, replicas) = (pairs(primary), pairs(replicas));
        let all = |of: &[(String, String)], name: &str| -> Vec<String> {
            of.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect()
        };
        let first = |name: &str| all(&primary, name).into_iter().next().unwrap_or_default();
        Self {
            primary: first("ip"),
            primary_flags: first("flags"),
            other_sentinels: first("num-other-sentinels"),
            replicas: all(&replicas, "flags").into_iter().zip(all(&replicas, "master-link-status")).collect(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        let follows = |(flags, link): &(String, String)| flags == "slave" && link == "ok";
        self.primary_flags == "master"
            && self.other_sentinels == "2"
            && self.replicas.len() == 2
            && self.replicas.iter().all(follows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "name\nprimary\nip\n10.96.0.7\nport\n6379\nrunid\n\nflags\nmaster\nnum-slaves\n2\nnum-other-sentinels\n2\n";
    const REPLICA: &str = "name\n10.96.0.8:6379\nip\n10.96.0.8\nflags\nslave\nrole-reported\nslave\nmaster-link-status\nok\nmaster-host\n10.96.0.7\n";

    #[test]
    fn a_view_is_whole_when_two_replicas_follow() {
        let two = REPLICA.repeat(2);
        assert!(View::of(PRIMARY, &two).is_whole());
        assert_eq!(View::of(PRIMARY, &two).primary, "10.96.0.7");
        for (primary, replicas) in [
            (PRIMARY.to_owned(), REPLICA.to_owned()),
            (PRIMARY.to_owned(), two.replace("ok", "err")),
            (PRIMARY.to_owned(), two.replacen("slave\n", "s_down,slave,disconnected\n", 1)),
            (PRIMARY.replace("flags\nmaster", "flags\nmaster,failover_in_progress"), two.clone()),
            (PRIMARY.replace("sentinels\n2", "sentinels\n1"), two.clone()),
            (String::new(), String::new()),
        ] {
            assert!(!View::of(&primary, &replicas).is_whole(), "{primary}{replicas}");
        }
    }
}
