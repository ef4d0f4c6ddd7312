//! Memory of a gateway that serves many tenants: with none, with many that it only knows, and with connections to all of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use keystead_route::{Algorithm, Route};

use crate::{
    figures::Figures,
    services::{register, route, start_gateway, start_redis_at},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The gateway's binary, built for release.
    #[arg(long)]
    gateway: PathBuf,
    /// Folder for `memory.json`.
    #[arg(long)]
    out: PathBuf,
    /// How many tenants.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tenants: u32,
    /// How often each tenant is asked for a key.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    asked: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = start_redis_at(folder.path(), 0)?;
    let name = |number: u32| format!("t{number}");
    let routes: Vec<Route> = (0..arguments.tenants)
        .map(|number| route(&name(number), redis.port, Algorithm::HS256))
        .collect::<Result<_>>()?;
    eprintln!("registering a user of each tenant");
    // With a gateway of its own: what hashing passwords takes is not what is measured.
    let registrar = start_gateway("registrar", &arguments.gateway, folder.path(), &routes)?;
    let tokens: Vec<String> = (0..arguments.tenants)
        .map(|number| register(registrar.port, &name(number)))
        .collect::<Result<_>>()?;
    registrar.end()?;

    let mut figures = Figures::default();
    let empty = start_gateway("empty", &arguments.gateway, folder.path(), &[])?;
    figures.note("mib_without_tenants", empty.resident_mebibytes()?);
    empty.end()?;
    let gateway = start_gateway("gateway", &arguments.gateway, folder.path(), &routes)?;
    figures.note("mib_tenants_known", gateway.resident_mebibytes()?);
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    for _ in 0..arguments.asked {
        for token in &tokens {
            let url = format!("http://{}/api/v1/kv/absent", gateway.address());
            let mut answer = agent.get(url).header("Authorization", format!("Bearer {token}")).call()?;
            answer.body_mut().read_to_vec().context("an answer breaks off")?;
            anyhow::ensure!(answer.status() == 404, "a key that is absent was answered {}", answer.status());
        }
    }
    figures.note("mib_tenants_connected", gateway.resident_mebibytes()?);
    figures.note("tenants", arguments.tenants.into());
    figures.write(&arguments.out, "memory.json", 1)
}
