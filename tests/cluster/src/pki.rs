//! Certificates and kubeconfigs, made once by openssl.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use crate::{
    cluster::{ADDRESS, APISERVER_SERVICE},
    shell::run,
};

/// Name, subject, whether it gets a kubeconfig.
const CLIENTS: &[(&str, &str, bool)] = &[
    ("admin", "/O=system:masters/CN=admin", true),
    ("controller-manager", "/CN=system:kube-controller-manager", true),
    ("scheduler", "/CN=system:kube-scheduler", true),
    ("proxy", "/CN=system:kube-proxy", true),
    ("front", "/CN=front-proxy", false),
];

pub(crate) fn ensure(state: &Path) -> Result<()> {
    let pki = state.join("pki");
    if pki.join("done").exists() {
        return Ok(());
    }
    fs::create_dir_all(&pki)?;
    let openssl = |arguments: &[&str]| run(Command::new("openssl").current_dir(&pki).args(arguments));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(
        &[
            &["req", "-x509"],
            &curve[..],
            &["-keyout", "ca.key", "-subj", "/CN=keystead-local", "-days", "365", "-out", "ca.crt"],
        ]
        .concat(),
    )?;
    openssl(&["genrsa", "-out", "sa.key", "2048"])?;
    openssl(&["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"])?;
    let certificate = |name: &str, subject: &str, names: Option<&str>| -> Result<()> {
        let (key, request, crt, extensions) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"), format!("{name}.ext"));
        openssl(&[&["req"], &curve[..], &["-keyout", &key, "-subj", subject, "-out", &request]].concat())?;
        let alternative = names.map_or(String::new(), |names| format!("subjectAltName={names}\n"));
        let usage = "keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n";
        fs::write(pki.join(&extensions), format!("{usage}{alternative}"))?;
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "365",
            "-out",
            &crt,
            "-extfile",
            &extensions,
        ])?;
        Ok(())
    };
    let names = format!(
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{APISERVER_SERVICE},IP:{ADDRESS}"
    );
    certificate("apiserver", "/CN=kube-apiserver", Some(&names))?;
    certificate("node", "/O=system:nodes/CN=system:node:node", Some(&format!("DNS:node,IP:{ADDRESS}")))?;
    for (name, subject, _) in CLIENTS {
        certificate(name, subject, None)?;
    }
    let with_kubeconfig = CLIENTS.iter().filter(|client| client.2).map(|client| client.0);
    for name in with_kubeconfig.chain(["node"]) {
        fs::write(state.join("etc").join(format!("{name}.conf")), kubeconfig(&pki, name))?;
    }
    fs::write(pki.join("done"), "")?;
    Ok(())
}

fn kubeconfig(pki: &Path, name: &str) -> String {
    let pki = pki.display();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: keystead-local\n\
         clusters: [{{name: keystead-local, cluster: {{server: 'https://{ADDRESS}:6443', certificate-authority: {pki}/ca.crt}}}}]\n\
         users: [{{name: {name}, user: {{client-certificate: {pki}/{name}.crt, client-key: {pki}/{name}.key}}}}]\n\
         contexts: [{{name: keystead-local, context: {{cluster: keystead-local, user: {name}}}}}]\n"
    )
}
