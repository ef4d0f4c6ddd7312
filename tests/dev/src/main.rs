//! Serves the Tenants of a folder with local processes: for each a redis-server and a worker, one gateway for all. For
//! development only; `cargo xtask dev` starts it.
//!
//! Configuration, users and routes are the operator's own: its pure steps are called as the operator calls them, so
//! that what works here is configured as on a cluster. Data and secrets are kept below `--state` from run to run.

mod plan;
mod processes;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    plan::{Plan, read_tenants},
    processes::Processes,
};

#[derive(Debug, Parser)]
#[command(about = "Serves the Tenants of a folder with local processes")]
struct Arguments {
    /// Folder of manifests; what is no Tenant is passed over.
    folder: PathBuf,
    /// The gateway's binary.
    #[arg(long)]
    gateway: PathBuf,
    /// The worker's binary.
    #[arg(long)]
    worker: PathBuf,
    /// Where data, secrets and logs are kept.
    #[arg(long)]
    state: PathBuf,
    /// Address of the gateway's API.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut processes = Processes::default();
    let result = run(&arguments, &mut processes).await;
    processes.stop().await;
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts everything, then waits until it is asked to end or a process ends by itself.
async fn run(arguments: &Arguments, processes: &mut Processes) -> Result<()> {
    // From here on a signal ends this program in good order, never in the middle.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        started = start(arguments, processes) => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    }
    tokio::select! {
        ended = processes.any_ends() => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn start(arguments: &Arguments, processes: &mut Processes) -> Result<()> {
    let tenants = read_tenants(&arguments.folder)?;
    private_folder(&arguments.state)?;
    // Redis changes into its data folder while it reads its configuration.
    let state = fs::canonicalize(&arguments.state)?;
    let routes = state.join("routes");
    // Addresses of a former run.
    if routes.exists() {
        fs::remove_dir_all(&routes)?;
    }
    private_folder(&routes)?;
    for tenant in &tenants {
        let plan = Plan::of(tenant, &state.join(plan::name(tenant)))?;
        processes.redis(&plan).await?;
        fs::write(routes.join(format!("{}.json", plan.name)), plan.route.to_json())?;
        if plan.has_worker {
            processes.worker(&plan, &arguments.worker).await?;
        }
        let sign_up = plan.route.auth.sign_up;
        println!(
            "{:<12} Redis {}, sign-up {sign_up:?}, folder {}",
            plan.name.as_str(),
            plan.address(),
            plan.folder.display()
        );
    }
    processes.gateway(arguments, &routes).await?;
    let open = tenants.iter().find(|tenant| plan::is_open(tenant)).map(plan::name);
    tour(arguments.listen, open.as_deref());
    Ok(())
}

/// A folder that only its owner can look into: secrets are in it.
fn private_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making the folder {}", path.display()))
}

fn tour(listen: SocketAddr, tenant: Option<&str>) {
    println!("\nThe gateway serves http://{listen}; Ctrl-C ends it all.");
    let Some(tenant) = tenant else {
        println!("No Tenant has open sign-up: set spec.auth.signUp to Open to make accounts.");
        return;
    };
    println!(
        r#"
API=http://{listen}/api/v1
curl -s $API/auth/register -H 'Content-Type: application/json' \
  -d '{{"tenant":"{tenant}","username":"ada","email":"ada@example.com","password":"Correct-horse-7"}}'
TOKEN=…   # the access_token of that answer
curl -s -X PUT $API/kv/greeting -H "Authorization: Bearer $TOKEN" \
  -H 'Content-Type: application/json' -d '{{"value":{{"hello":"world"}}}}'
curl -s $API/kv/greeting -H "Authorization: Bearer $TOKEN"
curl -s $API/jobs -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"kind":"kv.export"}}'
curl -s $API/jobs -H "Authorization: Bearer $TOKEN""#
    );
}
