//! An etcd and an apiserver of a test's own, on free ports and without a node: Kubernetes' objects and permissions as they
//! are, and nobody who acts on them. Needs no root. Both end when it is dropped.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    packages, pki,
    shell::{run, run_with_input, wait_for},
    tools::Tools,
};

/// Both running, in a folder of the caller's.
#[derive(Debug)]
pub struct ApiServer {
    processes: Vec<(&'static str, Child)>,
    folder: PathBuf,
    port: u16,
    tools: Tools,
}

impl ApiServer {
    /// Starts both and waits until the apiserver is ready.
    pub fn start(folder: &Path) -> Result<Self> {
        packages::ensure(&[("openssl", "openssl")])?;
        let tools = Tools::only(&["etcd", "kube"])?;
        for part in ["etc", "log"] {
            fs::create_dir_all(folder.join(part))?;
        }
        pki::ensure(folder)?;
        // Another process may take a port in between: then there is another try with others.
        let mut last = None;
        for _ in 0..3 {
            let mut server = Self {
                processes: Vec::new(),
                folder: folder.to_owned(),
                port: free_port()?,
                tools: tools.clone(),
            };
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("no try was made"), Err)
    }

    /// kubectl as an administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = self.tools.command("kubectl");
        command.env("KUBECONFIG", self.folder.join("etc/own.conf"));
        command
    }

    /// Creates or changes what a manifest describes.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        run_with_input(self.kubectl().args(["apply", "--server-side", "-f", "-"]), manifest).map(drop)
    }

    /// Writes a kubeconfig with a token of this service account, and gives its place.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let token = run(self.kubectl().args(["create", "token", account, "-n", namespace]))?;
        let path = self.folder.join(format!("etc/{namespace}-{account}.conf"));
        fs::write(&path, self.kubeconfig(&format!("token: {}", token.trim())))?;
        Ok(path)
    }

    fn launch(&mut self) -> Result<()> {
        let (client, peer) = (free_port()?, free_port()?);
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let data = self.folder.join("etcd");
        // What a try before has left.
        let _ = fs::remove_dir_all(&data);
        let etcd = [
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".into(),
        ];
        self.spawn("etcd", &etcd)?;
        let pki = self.folder.join("pki");
        let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
        let apiserver = [
            format!("--etcd-servers={client}"),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".into(),
            // Endpoints must not be on the loopback; nobody uses this one.
            "--advertise-address=192.0.2.1".into(),
            "--service-cluster-ip-range=10.97.0.0/24".into(),
            file("client-ca-file", "ca.crt"),
            file("tls-cert-file", "apiserver.crt"),
            file("tls-private-key-file", "apiserver.key"),
            file("service-account-key-file", "sa.pub"),
            file("service-account-signing-key-file", "sa.key"),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--authorization-mode=RBAC".into(),
            // Nobody makes the namespaces' default accounts, and there are no pods that need them.
            "--disable-admission-plugins=ServiceAccount".into(),
        ];
        self.spawn("kube-apiserver", &apiserver)?;
        let admin = |name: &str| pki.join(name).display().to_string();
        let user = format!("client-certificate: {}, client-key: {}", admin("admin.crt"), admin("admin.key"));
        fs::write(self.folder.join("etc/own.conf"), self.kubeconfig(&user))?;
        let folder = self.folder.clone();
        let mut kubectl = self.kubectl();
        kubectl.args(["get", "--raw", "/readyz"]);
        let processes = &mut self.processes;
        let mut ended = None;
        wait_for("the apiserver is ready", Duration::from_secs(90), || {
            ended = processes.iter_mut().find_map(|(name, child)| child.try_wait().ok()?.map(|_| *name));
            if ended.is_some() { Ok(()) } else { run(&mut kubectl).map(drop) }
        })?;
        if let Some(name) = ended {
            let log = fs::read_to_string(folder.join("log").join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            bail!("{name} has ended:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        Ok(())
    }

    fn spawn(&mut self, name: &'static str, arguments: &[String]) -> Result<()> {
        let log = File::create(self.folder.join("log").join(name))?;
        let mut command = self.tools.command(name);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        self.processes.push((name, child));
        Ok(())
    }

    fn kubeconfig(&self, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: own\n\
             clusters: [{{name: own, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: {}}}}}]\n\
             users: [{{name: own, user: {{{user}}}}}]\n\
             contexts: [{{name: own, context: {{cluster: own, user: own}}}}]\n",
            self.port,
            self.folder.join("pki/ca.crt").display(),
        )
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // The apiserver first: without its etcd it would only complain. They may have ended already.
        for (_, child) in self.processes.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
