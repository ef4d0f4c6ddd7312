//! A container: a script in a process group of its own, started again when it ends, as kubelet would.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

#[derive(Default)]
struct State {
    /// Of the script, which leads its group; none between two starts.
    id: Option<u32>,
    stop: bool,
    ended: Vec<ExitStatus>,
}

pub(crate) struct Container {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Container {
    /// Runs what `command` gives until it is stopped.
    pub(crate) fn start(log: &Path, command: impl Fn() -> Command + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let log = log.to_owned();
        let thread = thread::spawn(move || {
            loop {
                let mut child = {
                    let mut state = shared.lock().unwrap();
                    if state.stop {
                        return;
                    }
                    let out = File::options().create(true).append(true).open(&log).unwrap();
                    let child = command()
                        .process_group(0)
                        .stdin(Stdio::null())
                        .stdout(out.try_clone().unwrap())
                        .stderr(out)
                        .spawn()
                        .unwrap();
                    state.id = Some(child.id());
                    child
                };
                let ended = child.wait().unwrap();
                let mut state = shared.lock().unwrap();
                // What is left of it, a Sentinel whose script was killed.
                if let Some(id) = state.id.take() {
                    signal("KILL", &format!("-{id}"));
                }
                state.ended.push(ended);
                drop(state);
                // It failed: as in a cluster, it is not started in a tight loop.
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { state, thread: Some(thread) }
    }

    /// Sends the whole group a signal. A container that is killed is started again.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(id) = self.state.lock().unwrap().id {
            signal(name, &format!("-{id}"));
        }
    }

    /// How its runs ended that have ended.
    pub(crate) fn ended(&self) -> Vec<ExitStatus> {
        self.state.lock().unwrap().ended.clone()
    }

    /// SIGTERM to the script alone, as a pod is ended; waits for its end.
    pub(crate) fn terminate(mut self) {
        {
            let mut state = self.state.lock().unwrap();
            state.stop = true;
            if let Some(id) = state.id {
                signal("TERM", &id.to_string());
            }
        }
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.state.lock().unwrap().stop = true;
            self.signal("KILL");
            let _ = thread.join();
        }
    }
}

fn signal(name: &str, to: &str) {
    // It may have ended already.
    let _ = Command::new("kill").args([&format!("-{name}"), "--", to]).stderr(Stdio::null()).status();
}
