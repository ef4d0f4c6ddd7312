//! The components' flags and configurations. What they are is Kubernetes' business; why they are so is said here.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Result, bail};

use crate::{
    cluster::{ADDRESS, BRIDGE, Cluster, PODS, SERVICES},
    images::PAUSE,
    paths, processes,
    shell::{run, succeeds, wait_for},
};

const ETCD: &str = "http://127.0.0.1:23790";

pub(crate) fn control_plane(cluster: &Cluster) -> Result<()> {
    let (state, pki) = (&cluster.state, cluster.state.join("pki"));
    let pki = pki.display();
    let etc = state.join("etc");
    let etc = etc.display();
    fs::write(
        state.join("etc/audit.yaml"),
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n",
    )?;
    // The data lives as long as the cluster: waiting for the disk would only be slow.
    processes::start(
        state,
        "etcd",
        cluster.tools.command("etcd").args(["--data-dir"]).arg(state.join("etcd")).args([
            &format!("--listen-client-urls={ETCD}"),
            &format!("--advertise-client-urls={ETCD}"),
            "--listen-peer-urls=http://127.0.0.1:23800",
            "--initial-advertise-peer-urls=http://127.0.0.1:23800",
            "--initial-cluster=default=http://127.0.0.1:23800",
            "--unsafe-no-fsync",
        ]),
    )?;
    let apiserver = [
        format!("--etcd-servers={ETCD}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--advertise-address={ADDRESS}"),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        format!("--kubelet-client-certificate={pki}/admin.crt"),
        format!("--kubelet-client-key={pki}/admin.key"),
        format!("--requestheader-client-ca-file={pki}/ca.crt"),
        format!("--proxy-client-cert-file={pki}/front.crt"),
        format!("--proxy-client-key-file={pki}/front.key"),
        format!("--audit-policy-file={etc}/audit.yaml"),
        format!("--audit-log-path={}", state.join("log/audit.json").display()),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--requestheader-allowed-names=front-proxy".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        // metrics-server is a process of the host: its Service is reached by its endpoints.
        "--enable-aggregator-routing=true".into(),
        // The node's name is in no DNS.
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--bind-address=0.0.0.0".into(),
        "--secure-port=6443".into(),
        "--allow-privileged=true".into(),
    ];
    processes::start(state, "apiserver", cluster.tools.command("kube-apiserver").args(apiserver))?;
    wait_for("the apiserver is ready", Duration::from_secs(90), || {
        processes::check(state, "etcd")?;
        processes::check(state, "apiserver")?;
        run(cluster.kubectl().args(["get", "--raw", "/readyz"])).map(drop)
    })?;
    let kubeconfig = |name: &str| format!("--kubeconfig={etc}/{name}.conf");
    processes::start(
        state,
        "controller-manager",
        cluster.tools.command("kube-controller-manager").args([
            &kubeconfig("controller-manager"),
            &format!("--authentication-kubeconfig={etc}/controller-manager.conf"),
            &format!("--service-account-private-key-file={pki}/sa.key"),
            &format!("--root-ca-file={pki}/ca.crt"),
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]),
    )?;
    processes::start(
        state,
        "scheduler",
        cluster.tools.command("kube-scheduler").args([
            &kubeconfig("scheduler"),
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]),
    )
}

pub(crate) fn containerd(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    let cni = format!(
        r#"{{"cniVersion": "1.0.0", "name": "keystead", "plugins": [{{"type": "bridge", "bridge": "{BRIDGE}",
            "isGateway": true, "hairpinMode": true, "ipam": {{"type": "host-local", "dataDir": "{}",
            "ranges": [[{{"subnet": "{PODS}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}"#,
        state.join("cni").display()
    );
    fs::write(state.join("etc/cni/10-keystead.conflist"), cni)?;
    // Images outlive a cluster. Without restrict_oom_score_adj no sandbox starts where CAP_SYS_RESOURCE is missing.
    let config = format!(
        r#"version = 2
root = "{root}"
state = "{state}/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/etc/cni"
"#,
        root = paths::cache().join("containerd").display(),
        state = state.display(),
        socket = socket(state),
    );
    fs::write(state.join("etc/containerd.toml"), config)?;
    let path = std::env::var("PATH").unwrap_or_default();
    processes::start(
        state,
        "containerd",
        cluster
            .tools
            .command("containerd")
            .arg("-c")
            .arg(state.join("etc/containerd.toml"))
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", cluster.tools.folder().display())),
    )?;
    wait_for("containerd answers", Duration::from_secs(30), || {
        processes::check(state, "containerd")?;
        run(ctr(cluster).args(["version"])).map(drop)
    })?;
    // What a crashed cluster has left in the database.
    for container in run(ctr(cluster).args(["containers", "ls", "-q"]))?.lines() {
        succeeds(ctr(cluster).args(["containers", "rm", container]));
    }
    Ok(())
}

pub(crate) fn kubelet(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    let kubelet = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
         failCgroupV1: false\nfailSwapOn: false\ncgroupDriver: cgroupfs\n\
         clusterDNS: [{ADDRESS}]\nclusterDomain: cluster.local\n\
         containerRuntimeEndpoint: unix://{socket}\npodLogsDir: {state}/pod-logs\n\
         authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {state}/pki/ca.crt}}}}\n\
         authorization: {{mode: Webhook}}\n\
         tlsCertFile: {state}/pki/node.crt\ntlsPrivateKeyFile: {state}/pki/node.key\n\
         evictionHard: {{nodefs.available: 1%, imagefs.available: 1%, memory.available: 100Mi}}\n\
         crashLoopBackOff: {{maxContainerRestartPeriod: 10s}}\n\
         imageGCHighThresholdPercent: 100\nmakeIPTablesUtilChains: false\nserializeImagePulls: false\n\
         nodeStatusUpdateFrequency: 4s\nsyncFrequency: 10s\nkubeAPIQPS: 200\nkubeAPIBurst: 400\n",
        socket = socket(state),
        state = state.display(),
    );
    fs::write(state.join("etc/kubelet.yaml"), kubelet)?;
    processes::start(
        state,
        "kubelet",
        cluster.tools.command("kubelet").args([
            &format!("--kubeconfig={}", state.join("etc/node.conf").display()),
            &format!("--config={}", state.join("etc/kubelet.yaml").display()),
            &format!("--root-dir={}", state.join("kubelet").display()),
            "--hostname-override=node",
            &format!("--node-ip={ADDRESS}"),
        ]),
    )
}

pub(crate) fn node(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    kubelet(cluster)?;
    // A binding of our own: the role's default one is for a service account.
    let binding = [
        "create",
        "clusterrolebinding",
        "kube-proxy",
        "--clusterrole=system:node-proxier",
        "--user=system:kube-proxy",
    ];
    if !succeeds(cluster.kubectl().args(["get", "clusterrolebinding", "kube-proxy"])) {
        run(cluster.kubectl().args(binding))?;
    }
    let proxy = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
         clusterCIDR: {PODS}\nclientConnection: {{kubeconfig: {}}}\nhostnameOverride: node\nconntrack: {{maxPerCore: 0}}\n",
        state.join("etc/proxy.conf").display()
    );
    fs::write(state.join("etc/proxy.yaml"), proxy)?;
    let config = format!("--config={}", state.join("etc/proxy.yaml").display());
    processes::start(state, "proxy", cluster.tools.command("kube-proxy").arg(config))?;
    wait_for("the node has registered", Duration::from_mins(1), || {
        processes::check(state, "kubelet")?;
        processes::check(state, "proxy")?;
        run(cluster.kubectl().args(["get", "node", "node"])).map(drop)
    })
}

pub(crate) fn netpol(cluster: &Cluster, binary: &Path) -> Result<()> {
    if !binary.exists() {
        bail!("{} is not there: build it with `cargo build -p keystead-netpol`", binary.display());
    }
    let mut command = Command::new(binary);
    command.env("KUBECONFIG", cluster.kubeconfig()).env("KEYSTEAD_NETPOL_DNS", ADDRESS);
    processes::start(&cluster.state, "netpol", &mut command)?;
    wait_for("NetworkPolicies are enforced", Duration::from_secs(20), || {
        processes::check(&cluster.state, "netpol")?;
        run(Command::new("nft").args(["list", "table", "inet", "keystead_netpol"])).map(drop)
    })
}

/// The images' side of containerd.
pub(crate) fn ctr(cluster: &Cluster) -> Command {
    let mut command = cluster.tools.command("ctr");
    command.args(["--address", &socket(&cluster.state), "--namespace", "k8s.io"]);
    command
}

pub(crate) fn socket(state: &Path) -> String {
    state.join("containerd.sock").display().to_string()
}
