//! The scripts of a Cluster tenant with real processes: members that are formed into shards, fail, end and come back, and
//! shards that come and go, while clients write.

#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

#[path = "../common/certificates.rs"]
mod certificates;
#[path = "../common/client.rs"]
mod client;
mod cluster;
mod failures;
#[path = "../common/pod.rs"]
mod pod;
#[path = "../common/process.rs"]
mod process;
mod reshaping;
mod restarts;
mod secrets;
#[path = "../common/secured.rs"]
mod secured;
mod tenant;
mod tls;
#[path = "../common/writer.rs"]
mod writer;

use std::{path::Path, process::Command};

#[test]
fn the_scripts_pass_shellcheck() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tenant/build/scripts/cluster");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    match Command::new("shellcheck").arg("-x").args(names).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(_) => eprintln!("skipped: shellcheck is not installed"),
    }
}
