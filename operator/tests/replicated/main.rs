//! The scripts of a Replicated tenant with real processes: members that start, fail, end and come back in every order,
//! while clients write.

#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

mod attempt;
#[path = "../common/certificates.rs"]
mod certificates;
#[path = "../common/client.rs"]
mod client;
mod failures;
#[path = "../common/pod.rs"]
mod pod;
#[path = "../common/process.rs"]
mod process;
mod readers;
mod restarts;
mod secrets;
#[path = "../common/secured.rs"]
mod secured;
mod tenant;
mod tls;
mod usage;
#[path = "../common/writer.rs"]
mod writer;

use std::{path::Path, process::Command};

use tenant::Tenant;

#[test]
fn a_new_tenant_starts_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut tenant = Tenant::new(3);
        for place in order {
            tenant.members[place].start();
        }
        assert_eq!(tenant.settle(), 0);
        tenant.check_denials();
        for member in &tenant.members {
            for probe in ["ready.sh", "alive.sh", "ready.sh 26379", "alive.sh 26379"] {
                assert!(member.probe(probe), "{probe}");
            }
        }
    }
}

#[test]
fn the_scripts_pass_shellcheck() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tenant/build/scripts/replicated");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    match Command::new("shellcheck").arg("-x").args(names).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(_) => eprintln!("skipped: shellcheck is not installed"),
    }
}
