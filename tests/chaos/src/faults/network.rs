//! Pods that do not reach each other, by an nftables table of this suite.
//!
//! Packets between pods pass the forward hook with the pods' own addresses, also those to a Service: its address has
//! been replaced by then. What is dropped there is dropped whatever the table of the NetworkPolicies says, and for
//! connections that stand too.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::members::Pod;

/// `cargo xtask down` removes a table of this name, should the test be killed.
const TABLE: &str = "inet keystead_chaos";

/// Two sides that are cut off from each other until this is dropped.
#[derive(Debug)]
pub(super) struct Partition(());

impl Partition {
    pub(super) fn between(side: &[Pod], other: &[Pod]) -> Self {
        Self::from_addresses(side, &addresses(other))
    }

    pub(super) fn from_addresses(side: &[Pod], other: &[String]) -> Self {
        // Made first: what has been set up in part is taken away as well.
        let partition = Self(());
        let mut nft =
            Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("starting nft");
        let mut stdin = nft.stdin.take().expect("stdin is piped");
        stdin.write_all(table(&addresses(side), other).as_bytes()).expect("writing to nft");
        drop(stdin);
        assert!(nft.wait().is_ok_and(|status| status.success()), "nft refused the table");
        partition
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        let removed = Command::new("nft").args(["delete", "table"]).args(TABLE.split(' ')).output();
        if !removed.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("the partition stays: {removed:?}");
        }
    }
}

fn addresses(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.address().expect("an address").to_owned()).collect()
}

fn table(side: &[String], other: &[String]) -> String {
    let (side, other) = (side.join(", "), other.join(", "));
    format!(
        "table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n  chain forward {{\n    \
         type filter hook forward priority 0; policy accept;\n    \
         ip saddr {{ {side} }} ip daddr {{ {other} }} drop\n    \
         ip saddr {{ {other} }} ip daddr {{ {side} }} drop\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_dropped() {
        let table = table(&["10.0.0.1".into()], &["10.0.0.2".into(), "10.0.0.3".into()]);
        let rules: Vec<&str> = table.lines().map(str::trim).filter(|line| line.ends_with(" drop")).collect();
        assert_eq!(
            rules,
            [
                "ip saddr { 10.0.0.1 } ip daddr { 10.0.0.2, 10.0.0.3 } drop",
                "ip saddr { 10.0.0.2, 10.0.0.3 } ip daddr { 10.0.0.1 } drop"
            ]
        );
    }
}
