//! `cargo xtask test`: checks, then tests from fast to real. Ends with one line `N passed, N failed`.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use keystead_cluster::{Cluster, leftovers, packages, paths, shell};

use crate::{
    ahead::Ahead,
    build::{self, Images, Profile, cargo},
    executables::{Executable, Executables},
    install::{self, Access, NAMESPACE},
    local_cluster, root,
    tally::{Run, Tally},
};

/// Of the chaos suite on three members, what every test run has.
const SHORT_FAULTS: &str = "kill -9 of the primary;primary stopped for 5 s;primary's pod deleted;\
                            primary's pod deleted by force, its volume emptied;\
                            primary cut off from the other members for 15 s";
/// The same of a `Cluster` tenant.
const SHORT_CLUSTER_FAULTS: &str =
    "kill -9 of the primary;primary's pod deleted by force, its volume emptied";
/// Of the tests without a cluster, those that take minutes.
const LONG: [&str; 2] = ["clustered", "replicated"];
/// How many files of tests run beside each other.
const AT_ONCE: usize = 3;
/// How often `--chaos` tries each fault; the primary is killed twice as often.
const CHAOS_ROUNDS: &str = "5";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only what needs no Kubernetes.
    #[arg(long)]
    fast: bool,
    /// Only the chaos suite, each fault several times: an hour and more.
    #[arg(long, conflicts_with = "fast")]
    chaos: bool,
    /// Leave the cluster up at the end.
    #[arg(long)]
    keep: bool,
    /// Minutes after which no further file of tests begins; what is left out is named at the end.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure(&[packages::BUILD, packages::REDIS, packages::CHECKS].concat())?;
    let mut tally = Tally::limited_to(arguments.limit.map(Duration::from_mins));
    let mut ahead = if arguments.fast || arguments.chaos { None } else { Some(Ahead::start()?) };
    if !arguments.chaos {
        checks(&mut tally);
    }
    let mut built = None;
    tally.step("building the tests", "cargo test --workspace --all-features --no-run", || {
        built = Some(Executables::build()?);
        Ok(())
    });
    let Some(mut executables) = built else { return Ok(tally.finish()) };
    let mut on_cluster = OnCluster::take(&mut executables)?;
    if arguments.chaos {
        on_cluster.run(&mut tally, arguments.keep, OnCluster::chaos);
        return Ok(tally.finish());
    }
    let loki = executables.take_one("keystead-worker", "loki")?;
    if !arguments.fast {
        on_cluster.beside_life.push(executables.take_one("keystead-operator", "clustered")?);
    }
    without_cluster(&mut tally, executables);
    if !arguments.fast {
        on_cluster.run(&mut tally, arguments.keep, OnCluster::tests);
    }
    if let Some(ahead) = &mut ahead {
        let mut is_done = false;
        tally.step("programs that are built beside the tests", "cargo xtask tools", || {
            is_done = ahead.is_done()?;
            Ok(())
        });
        dependencies(&mut tally, arguments.limit.is_none());
        if is_done {
            tally.tests(vec![alone(&loki, 1)], 1);
        } else {
            let again = loki.again();
            println!(
                "\naudit log to a Loki: not run, as no time was left to build it; `{again}` builds it first"
            );
        }
    } else {
        dependencies(&mut tally, false);
    }
    Ok(tally.finish())
}

/// Tests on processes of their own. Most of the time they wait for one.
fn without_cluster(tally: &mut Tally, mut executables: Executables) {
    // These take minutes.
    let mut first = executables.take(|it| LONG.iter().any(|test| it.is("keystead-operator", test)));
    first.extend(executables.take(|_| true));
    tally.tests(first.iter().map(|it| alone(it, 2)).collect(), AT_ONCE);
}

/// A run that needs nothing from us.
fn alone(executable: &Executable, threads: u8) -> Run {
    Run { what: executable.again(), again: executable.again(), command: executable.command(threads) }
}

/// What is no test.
fn checks(tally: &mut Tally) {
    let format = "fmt --all --check";
    tally.step("format", "cargo fmt --all", || succeed(cargo().args(format.split(' '))));
    let lints = "clippy --locked --quiet --workspace --all-targets --all-features -- -D warnings";
    tally.step("lints", &format!("cargo {lints}"), || succeed(cargo().args(lints.split(' '))));
    let histories = "-C tests/linearizability test ./...";
    tally.step("checker of histories", &format!("go {histories}"), || {
        succeed(Command::new("go").args(histories.split(' ')))
    });
    let scripts = "git ls-files .ci/run '*.sh' | xargs shellcheck -x";
    tally.step("shell scripts", scripts, || succeed(Command::new("sh").args(["-c", scripts])));
}

/// Licences and sources of what is depended on. The advisories come from GitHub: a change there is no failure of this tree.
fn dependencies(tally: &mut Tally, install: bool) {
    let check = "check bans licenses sources";
    if let Some(mut deny) = cargo_deny(install) {
        tally.step("dependencies", &format!("cargo deny {check}"), || succeed(deny.args(check.split(' '))));
    } else {
        println!(
            "dependencies: not checked, as cargo-deny is not installed: `cargo install --locked cargo-deny`"
        );
    }
}

/// cargo-deny from `PATH`, else from the cache; `install` builds it where it is missing.
pub(crate) fn cargo_deny(install: bool) -> Option<Command> {
    if shell::succeeds(Command::new("cargo-deny").arg("--version")) {
        return Some(Command::new("cargo-deny"));
    }
    let folder = paths::cache().join("cargo-deny");
    let program = folder.join("bin/cargo-deny");
    if !program.exists() && install {
        let mut build = cargo();
        build.args(["install", "--quiet", "--locked", "cargo-deny", "--root"]).arg(&folder);
        // Where it cannot be built, the check is left out and that is said.
        let _ = shell::step("building cargo-deny", || succeed(&mut build));
    }
    program.exists().then(|| Command::new(program))
}

/// The tests that need a Kubernetes.
struct OnCluster {
    sign_up: Executable,
    /// One test after the other, each of which mostly waits.
    life: Executable,
    /// What has nothing to do with the cluster, and needs the processors for minutes.
    beside_life: Vec<Executable>,
    idle: Executable,
    upgrade: Executable,
    /// Each with Tenants of its own.
    scenarios: Vec<Executable>,
    replicated_chaos: Executable,
    clustered_chaos: Executable,
}

impl OnCluster {
    fn take(from: &mut Executables) -> Result<Self> {
        Ok(Self {
            sign_up: from.take_one("keystead-gateway", "sign_up")?,
            life: from.take_one("keystead-operator", "life")?,
            beside_life: Vec::new(),
            idle: from.take_one("keystead-e2e", "idle")?,
            upgrade: from.take_one("keystead-e2e", "upgrade")?,
            replicated_chaos: from.take_one("keystead-chaos", "replicated")?,
            clustered_chaos: from.take_one("keystead-chaos", "clustered")?,
            scenarios: from.take(|it| it.package == "keystead-e2e"),
        })
    }

    fn run(&self, tally: &mut Tally, keep: bool, tests: fn(&Self, &mut Tally, &Cluster, &Images)) {
        let again = "cargo xtask up";
        let mut running = None;
        tally.step("local cluster and images", again, || {
            Cluster::down()?;
            let cluster = local_cluster()?;
            let images = build::images(Profile::Dev)?;
            install::load(&cluster, &images)?;
            running = Some((cluster, images));
            Ok(())
        });
        if let Some((cluster, images)) = &running {
            tests(self, tally, cluster, images);
            if keep {
                println!("\nthe cluster is left up: export KUBECONFIG={}", cluster.kubeconfig().display());
                return;
            }
        }
        tally.step("the cluster goes and leaves nothing", "cargo xtask down", || {
            Cluster::down()?;
            let left = leftovers();
            ensure!(left.is_empty(), "left behind: {}", left.join(", "));
            Ok(())
        });
    }

    fn chaos(&self, tally: &mut Tally, cluster: &Cluster, images: &Images) {
        let access = Access::local(cluster);
        let installed = tally.step("helm install", "cargo xtask up", || {
            install::chart(&access, Some(&images.tag), &install::local_values())
        });
        if installed {
            // One after the other: each has the machine's time in its figures.
            let runs = [&self.replicated_chaos, &self.clustered_chaos].map(|chaos| {
                let mut run = on(cluster, images, chaos, 1);
                run.command.arg("--nocapture").env("KEYSTEAD_CHAOS_ROUNDS", CHAOS_ROUNDS);
                run
            });
            tally.tests(runs.into(), 1);
        }
    }

    fn tests(&self, tally: &mut Tally, cluster: &Cluster, images: &Images) {
        let access = Access::local(cluster);
        let run = |executable: &Executable, threads| on(cluster, images, executable, threads);
        // Before the chart: life brings operators of its own, and two would act on the same Tenants. Sign-up has an apiserver of its
        // own, with which nothing else has to do.
        let mut first = vec![run(&self.life, 2)];
        first.extend(self.beside_life.iter().map(|it| alone(it, 3)));
        first.push(run(&self.sign_up, 2));
        tally.tests(first, 3);
        let installed = tally.step("helm install, and again", "cargo xtask up", || {
            // Those tests have left the definition behind; the chart brings its own.
            let definition = ["delete", "crd", "tenants.keystead.io", "--ignore-not-found"];
            shell::run(access.kubectl().args(definition))?;
            install::chart(&access, Some(&images.tag), &install::local_values())?;
            install::chart(&access, Some(&images.tag), &install::local_values())
        });
        if !installed {
            return;
        }
        // The first waits for minutes, beside the others.
        let mut scenarios = vec![run(&self.idle, 8)];
        scenarios.extend(self.scenarios.iter().map(|scenarios| run(scenarios, 2)));
        tally.tests(scenarios, 2);
        // Alone: these take the installation away.
        tally.tests(vec![run(&self.upgrade, 2)], 1);
        let short = [(&self.replicated_chaos, SHORT_FAULTS), (&self.clustered_chaos, SHORT_CLUSTER_FAULTS)];
        let short = short.map(|(chaos, faults)| {
            let mut run = run(chaos, 1);
            run.command.args(["no_fault", "--nocapture"]).env("KEYSTEAD_CHAOS_ONLY", faults);
            run
        });
        tally.tests(short.into(), 1);
        tally.step("helm uninstall", "cargo xtask up", || {
            let uninstall = ["uninstall", "keystead", "--namespace", NAMESPACE, "--wait", "--timeout", "2m"];
            shell::run(access.helm().args(uninstall)).map(drop)
        });
    }
}

/// A run on this cluster.
fn on(cluster: &Cluster, images: &Images, executable: &Executable, threads: u8) -> Run {
    let mut run = alone(executable, threads);
    run.command
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("KEYSTEAD_TEST_KUBECONFIG", cluster.kubeconfig())
        .env("KEYSTEAD_KUBECTL", cluster.tools().path("kubectl"))
        .env("KEYSTEAD_WORKER_IMAGE", format!("docker.io/keystead/gateway:{}", images.tag));
    run.again = format!("cargo xtask up; KUBECONFIG={} {}", cluster.kubeconfig().display(), run.again);
    run
}

/// Runs a command at the root of the tree, on this terminal.
fn succeed(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status()?;
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(())
}
