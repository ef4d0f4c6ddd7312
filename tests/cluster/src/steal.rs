//! What its host keeps from a virtual machine of the processors.

use std::fs;

/// Processor time since the start, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    all: u64,
    stolen: u64,
}

impl Times {
    /// None where the kernel does not tell.
    pub fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; user has guest in it.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Vec<u64> = line.split_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
        Some(Self { all: times.iter().sum(), stolen: *times.get(7)? })
    }

    /// The percentage that was stolen since then.
    pub fn stolen_since(self, before: Self) -> u64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) * 100 / all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_is_a_share_of_the_time_between_two_looks() {
        let before = Times::parse("cpu  100 0 50 800 10 0 0 40 7 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(before, Times { all: 1000, stolen: 40 });
        let now = Times::parse("cpu  110 0 50 800 10 0 0 130 7 0\n").unwrap();
        assert_eq!(now.stolen_since(before), 90);
        assert_eq!(before.stolen_since(now), 0);
        for other in ["", "cpu  1 2 3\n", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(Times::parse(other), None, "{other}");
        }
    }
}
