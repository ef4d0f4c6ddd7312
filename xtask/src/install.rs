//! The chart on a cluster.

use std::process::Command;

use anyhow::Result;
use keystead_cluster::{
    Cluster, images,
    shell::{run, step},
};

use crate::{build::Images, root};

pub(crate) const NAMESPACE: &str = "keystead-system";

/// kubectl and helm for one cluster, and how a person calls them.
#[derive(Clone)]
pub(crate) struct Access {
    kubectl: std::path::PathBuf,
    helm: std::path::PathBuf,
    kubeconfig: Option<std::path::PathBuf>,
    context: Option<String>,
}

impl Access {
    pub(crate) fn local(cluster: &Cluster) -> Self {
        Self {
            kubectl: cluster.tools().path("kubectl"),
            helm: cluster.tools().path("helm"),
            kubeconfig: Some(cluster.kubeconfig()),
            context: None,
        }
    }

    /// What the person's own kubectl and helm reach.
    pub(crate) fn context(name: &str) -> Self {
        Self { kubectl: "kubectl".into(), helm: "helm".into(), kubeconfig: None, context: Some(name.into()) }
    }

    pub(crate) fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command
    }

    pub(crate) fn helm(&self) -> Command {
        let mut command = Command::new(&self.helm);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        if let Some(context) = &self.context {
            command.args(["--kube-context", context]);
        }
        command
    }

    /// What to type first, so that the printed commands work.
    pub(crate) fn preamble(&self) -> String {
        let kubeconfig = self.kubeconfig.as_ref().map(|path| format!("export KUBECONFIG={}", path.display()));
        let tools = self.kubectl.parent().filter(|folder| !folder.as_os_str().is_empty());
        let path = tools.map(|folder| format!("export PATH={}:$PATH", folder.display()));
        let context = self.context.as_ref().map(|name| format!("kubectl config use-context {name}"));
        [path, kubeconfig, context].into_iter().flatten().collect::<Vec<_>>().join("\n  ")
    }
}

/// Loads the images into the local cluster.
pub(crate) fn load(cluster: &Cluster, images: &Images) -> Result<()> {
    images.images.iter().try_for_each(|image| images::load(cluster, image))
}

/// Installs the chart or upgrades it, and waits until it runs. `tag` names images made here.
pub(crate) fn chart(access: &Access, tag: Option<&str>, values: &[String]) -> Result<()> {
    step("kubectl apply -f examples/namespace.yaml", || {
        run(access.kubectl().args(["apply", "-f"]).arg(root().join("examples/namespace.yaml"))).map(drop)
    })?;
    step("helm upgrade --install keystead charts/keystead", || {
        let mut helm = access.helm();
        helm.args(["upgrade", "--install", "keystead"]).arg(root().join("charts/keystead"));
        helm.args(["--namespace", NAMESPACE, "--wait", "--timeout", "3m"]);
        for file in values {
            helm.args(["--values", file]);
        }
        if let Some(tag) = tag {
            helm.args(["--set", &format!("images.tag={tag}")]);
        }
        run(&mut helm).map(drop)
    })
}

/// The values of the local cluster.
pub(crate) fn local_values() -> Vec<String> {
    vec![root().join("examples/values-local.yaml").display().to_string()]
}
