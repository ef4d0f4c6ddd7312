//! `keystead-cluster up|down`: the local cluster by itself.

use std::{env, path::PathBuf, process::ExitCode};

use keystead_cluster::{Cluster, Options};

fn main() -> ExitCode {
    let result = match env::args().nth(1).as_deref() {
        Some("up") => {
            let netpol = env::var_os("KEYSTEAD_NETPOL").map(PathBuf::from);
            Cluster::up(&Options { netpol }).map(drop)
        }
        Some("down") => Cluster::down(),
        _ => {
            eprintln!("usage: keystead-cluster up | down   (KEYSTEAD_NETPOL names the enforcer's binary)");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
