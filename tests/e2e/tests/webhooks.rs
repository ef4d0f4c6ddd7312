//! Webhooks leave a worker's pod for whom the Tenant names, and for nobody else.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::time::Duration;

use keystead_cluster::images::REDIS;
use keystead_e2e::{Gateway, Tenant, apply, delete, eventually, get_json, kubectl, kubectl_ok, within};
use serde_json::{Value, json};

const NAMESPACE: &str = "receivers";

/// Prints each request that it gets and answers 200: what of Perl is in every Debian will do.
const RECEIVER: &str = r#"use IO::Socket::INET; $| = 1;
my @listeners = map { IO::Socket::INET->new(LocalPort => $_, Listen => 5, ReuseAddr => 1) or die "port $_: $!" } (8080, 8081);
fork and shift @listeners or pop @listeners;
while (my $client = $listeners[0]->accept) {
    my ($length, $head, $body) = (0, "", "");
    while (<$client>) { $head .= $_; $length = $1 if /^content-length: (\d+)/i; last if /^\r?$/; }
    read($client, $body, $length) if $length;
    print "$head$body\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntaken";
    close $client;
}"#;

/// A pod that anybody may reach, by a name in DNS.
struct Receiver(&'static str);

impl Receiver {
    fn start(name: &'static str) -> Self {
        let labels = json!({"app": name});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "receiver", "image": REDIS, "imagePullPolicy": "IfNotPresent", "command": ["perl", "-e", RECEIVER]}],
        }});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"clusterIP": "None", "selector": labels}});
        for manifest in [pod, service] {
            let applied = apply(&manifest.to_string());
            assert!(applied.success, "{}", applied.stderr);
        }
        Self(name)
    }

    fn address(&self) -> String {
        eventually("the receiver runs", || {
            let pod = get_json(&["pod", self.0, "-n", NAMESPACE])?;
            let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
            pod["status"]["podIP"]
                .as_str()
                .filter(|_| ready)
                .map(str::to_owned)
                .ok_or_else(|| pod["status"].to_string())
        })
    }

    fn host(&self) -> String {
        format!("{}.{NAMESPACE}.svc.cluster.local", self.0)
    }

    fn listens(&self, port: u16) -> bool {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        let command = ["exec", "-n", NAMESPACE, self.0, "--", "timeout", "2", "bash", "-c", &script];
        kubectl(&command, None).success
    }

    fn received(&self) -> String {
        kubectl_ok(&["logs", self.0, "-n", NAMESPACE])
    }
}

#[test]
fn a_webhook_reaches_whom_the_tenant_names_and_the_worker_nobody_else() {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    assert!(apply(&namespace.to_string()).success);
    let (named, other) = (Receiver::start("named"), Receiver::start("other"));
    let (address, others_address) = (named.address(), other.address());
    let targets = |addresses: &[String]| {
        json!({"worker": {"webhooks": [
            {"host": named.host(), "ports": [8080], "allowHttp": true, "addresses": addresses},
        ]}})
    };
    let tenant = Tenant::ready("hooked", &targets(&[format!("{address}/32")]));
    let gateway = Gateway::installed();
    let ada = tenant.register(&gateway, "ada");
    let send = |url: &str| {
        let payload = json!({"url": url, "body": {"order": 7}});
        gateway.post("/api/v1/jobs", Some(&ada.access_token), &json!({"kind": "webhook", "payload": payload}))
    };
    let ended = |queued: &Value| {
        let path = format!("/api/v1/jobs/{}", queued["id"].as_str().expect("an id"));
        within(Duration::from_mins(2), "the job ends", || {
            let job = gateway.get(&path, &ada.access_token);
            if job.body["status"] == "succeeded" { Ok(job.body) } else { Err(job) }
        })
    };
    let queued = send(&format!("http://{}:8080/orders", named.host()));
    assert_eq!(queued.status, 202, "{queued:?}");
    let job = ended(&queued.body);
    assert_eq!(job["result"], json!({"status": 200, "body": "taken"}), "{job}");
    let received = eventually("the receiver says what it got", || {
        let received = named.received();
        if received.contains(r#"{"order":7}"#) { Ok(received) } else { Err(received) }
    });
    assert!(received.contains("POST /orders HTTP/1.1"), "{received}");
    let lower = received.to_lowercase();
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature: v1,"] {
        assert!(lower.contains(header), "{header}: {received}");
    }

    // At the door: what is not named is no job.
    for url in [format!("http://{}:8080/", other.host()), format!("http://{}:8081/", named.host())] {
        let refused = send(&url);
        let detail = refused.body["detail"].as_str().unwrap_or_default();
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(detail.contains("spec.worker.webhooks"), "{detail}");
    }
    // On the network: even a worker that somebody has taken over reaches only those.
    let (worker, _) = tenant.pod("worker");
    assert!(tenant.opens(&worker, &address, 8080), "what is named");
    for (receiver, address, port) in [(&named, &address, 8081), (&other, &others_address, 8080)] {
        assert!(receiver.listens(port), "else that nobody gets there would prove nothing");
        assert!(!tenant.opens(&worker, address, port.into()), "{address}:{port} is named nowhere");
    }
    assert!(!other.received().contains("HTTP"), "{}", other.received());
    delete("namespace", NAMESPACE);
}
