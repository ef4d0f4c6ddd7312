//! What is needed later is built while nobody else wants the processors: most tests wait for something most of the time.

use std::{
    env,
    path::Path,
    process::{self, Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use keystead_cluster::{
    shell::{step, succeeds},
    tools::{LOKI, Tools, names},
};

use crate::test::cargo_deny;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Ends, with all that it has started, when this process has ended; it leads a session.
    #[arg(long, hide = true)]
    with: Option<u32>,
}

/// `cargo xtask tools`: builds the programs of the local cluster and of the tests that the cache does not have.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(with) = arguments.with {
        thread::spawn(move || {
            while Path::new(&format!("/proc/{with}")).exists() {
                thread::sleep(Duration::from_secs(1));
            }
            end(process::id());
        });
    }
    for program in names() {
        if program == LOKI {
            cargo_deny(true);
        }
        step(program, || Tools::only(&[program]).map(drop))?;
    }
    Ok(())
}

/// Ends the processes of a session's leader.
fn end(leader: u32) {
    succeeds(Command::new("kill").args(["--", &format!("-{leader}")]));
}

/// It, on what the others leave of the processors. Ends with who has started it.
#[derive(Debug)]
pub(crate) struct Ahead(Child);

impl Ahead {
    pub(crate) fn start() -> Result<Self> {
        // A session of its own: the kernel divides the processors between sessions first.
        let own = "echo 19 >/proc/self/autogroup; exec \"$0\" tools --with \"$1\"";
        let mut command = Command::new("setsid");
        command
            .args(["chrt", "--idle", "0", "sh", "-c", own])
            .arg(env::current_exe()?)
            .arg(process::id().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("starting setsid (Debian package util-linux)")?))
    }

    /// Whether it is done with everything; fails where it could not be.
    pub(crate) fn is_done(&mut self) -> Result<bool> {
        match self.0.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!("it ended with {status}: `cargo xtask tools` tells why"),
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            end(self.0.id());
            // It may not lead a session yet.
            let _ = self.0.kill();
            // It has just been ended.
            let _ = self.0.wait();
        }
    }
}
