//! `cargo xtask test`: checks, then tests from fast to real. Ends with one line `N passed, N failed`.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail, ensure};
use keystead_cluster::{Cluster, leftovers, packages, paths, shell};

use crate::{
    build::{self, Images, Profile, cargo},
    install::{self, Access, NAMESPACE},
    local_cluster, root,
    tally::Tally,
};

/// Faults on tenants with several Redis; one after the other, since each has the machine's time in its figures.
const CHAOS: &str = "test --locked --package keystead-chaos --features cluster --test replicated --test clustered \
                     --no-fail-fast -- --nocapture --test-threads 1";
/// Those of it that every test run has, and the faults of them.
const SHORT_CHAOS: &str = "test --locked --package keystead-chaos --features cluster --test replicated --no-fail-fast \
                           no_fault -- --nocapture --test-threads 1";
const SHORT_FAULTS: &str = "kill -9 of the primary;primary stopped for 5 s;primary's pod deleted;\
                            primary's pod deleted by force, its volume emptied;\
                            primary cut off from the other members for 15 s";
/// The same of a `Cluster` tenant.
const SHORT_CLUSTER: &str = "test --locked --package keystead-chaos --features cluster --test clustered --no-fail-fast \
                             no_fault -- --nocapture --test-threads 1";
const SHORT_CLUSTER_FAULTS: &str =
    "kill -9 of the primary;primary's pod deleted by force, its volume emptied";
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
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure(&[packages::BUILD, packages::REDIS, packages::CHECKS].concat())?;
    let mut tally = Tally::default();
    if arguments.chaos {
        on_a_cluster(&mut tally, arguments.keep, chaos);
        return Ok(tally.finish());
    }
    checks(&mut tally, !arguments.fast);
    let all = "test --locked --workspace --no-fail-fast";
    tally.tests("tests without a cluster", &format!("cargo {all}"), cargo().args(all.split(' ')));
    if !arguments.fast {
        let loki = "test --locked --workspace --features keystead-worker/loki --test loki --no-fail-fast -- --test-threads 1";
        tally.tests("audit log to a Loki", &format!("cargo {loki}"), cargo().args(loki.split(' ')));
        on_a_cluster(&mut tally, arguments.keep, tests);
    }
    Ok(tally.finish())
}

/// What is no test; `install` also builds a checker that is missing.
fn checks(tally: &mut Tally, install: bool) {
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
    if let Some(mut deny) = cargo_deny(install) {
        // The advisories come from GitHub: a change there is no failure of this tree.
        let check = "check bans licenses sources";
        tally.step("dependencies", &format!("cargo deny {check}"), || succeed(deny.args(check.split(' '))));
    } else {
        println!(
            "dependencies: not checked, as cargo-deny is not installed: `cargo install --locked cargo-deny`"
        );
    }
}

/// cargo-deny from `PATH`, else from the cache.
fn cargo_deny(install: bool) -> Option<Command> {
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

fn on_a_cluster(tally: &mut Tally, keep: bool, tests: fn(&mut Tally, &Cluster, &Images)) {
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
        tests(tally, cluster, images);
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

/// Cargo for tests on this cluster.
fn cargo_on(cluster: &Cluster, images: &Images, arguments: &str) -> Command {
    let mut command = cargo();
    command.args(arguments.split(' '));
    command.env("KUBECONFIG", cluster.kubeconfig()).env("KEYSTEAD_TEST_KUBECONFIG", cluster.kubeconfig());
    command.env("KEYSTEAD_KUBECTL", cluster.tools().path("kubectl"));
    command.env("KEYSTEAD_WORKER_IMAGE", format!("docker.io/keystead/gateway:{}", images.tag));
    command
}

/// The command that a person repeats them with.
fn again_on(cluster: &Cluster, arguments: &str) -> String {
    format!("cargo xtask up; KUBECONFIG={} cargo {arguments}", cluster.kubeconfig().display())
}

fn chaos(tally: &mut Tally, cluster: &Cluster, images: &Images) {
    let access = Access::local(cluster);
    let installed = tally.step("helm install", "cargo xtask up", || {
        install::chart(&access, Some(&images.tag), &install::local_values())
    });
    if installed {
        let mut command = cargo_on(cluster, images, CHAOS);
        tally.tests("chaos", &again_on(cluster, CHAOS), command.env("KEYSTEAD_CHAOS_ROUNDS", CHAOS_ROUNDS));
    }
}

fn tests(tally: &mut Tally, cluster: &Cluster, images: &Images) {
    let access = Access::local(cluster);
    let run = |arguments: &str| cargo_on(cluster, images, arguments);
    let again = |arguments: &str| again_on(cluster, arguments);

    // On an apiserver of their own, with which nothing else has to do.
    let sign_up = "test --locked --package keystead-gateway --features cluster --test sign_up --no-fail-fast -- --test-threads 2";
    tally.tests("sign-up on an apiserver", &format!("cargo {sign_up}"), &mut run(sign_up));

    // Before the chart: these bring operators of their own, and two would act on the same Tenants.
    let life = "test --locked --workspace --features keystead-operator/cluster --test life --no-fail-fast";
    tally.tests("operator on a cluster", &again(life), &mut run(life));
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
    // Each scenario has Tenants of its own.
    let scenarios =
        "test --locked --package keystead-e2e --features cluster --no-fail-fast -- --test-threads 2";
    // Minutes of waiting, beside the others.
    let idle = "test --locked --package keystead-e2e --features cluster,idle --test idle --no-fail-fast -- --test-threads 8";
    tally.tests_beside("scenarios of waiting", &again(idle), &mut run(idle), |tally| {
        tally.tests("scenarios", &again(scenarios), &mut run(scenarios));
    });
    // Alone: these take the installation away.
    let upgrade = "test --locked --package keystead-e2e --features cluster,installation --test upgrade --no-fail-fast -- --test-threads 2";
    tally.tests("scenarios of the installation", &again(upgrade), &mut run(upgrade));
    tally.tests(
        "chaos, in short",
        &again(SHORT_CHAOS),
        run(SHORT_CHAOS).env("KEYSTEAD_CHAOS_ONLY", SHORT_FAULTS),
    );
    tally.tests(
        "chaos of a cluster, in short",
        &again(SHORT_CLUSTER),
        run(SHORT_CLUSTER).env("KEYSTEAD_CHAOS_ONLY", SHORT_CLUSTER_FAULTS),
    );
    tally.step("helm uninstall", "cargo xtask up", || {
        let uninstall = ["uninstall", "keystead", "--namespace", NAMESPACE, "--wait", "--timeout", "2m"];
        shell::run(access.helm().args(uninstall)).map(drop)
    });
}

/// Runs a command at the root of the tree, on this terminal.
fn succeed(command: &mut Command) -> Result<()> {
    let status = command.current_dir(root()).status()?;
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(())
}
