//! What is built for Redis, with a real redis-server: it starts from the configuration, the probes tell how it is, and the
//! users may do what they must and no more.

#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

#[path = "common/certificates.rs"]
mod certificates;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use certificates::Certificates;
use keystead_crds::{Tenant, Topology};
use keystead_operator::{
    kinds::Kind,
    settings::Settings,
    tenant::{
        build::{Known, Object, build},
        certificates::Change,
        credentials::{self, Contents, Credentials, Needs},
        validate::validate,
    },
};
use keystead_route::Algorithm;
use serde_json::{Value, json};
use tempfile::TempDir;

const NEEDS: Needs = Needs {
    signing: Algorithm::EdDSA,
    encryption: None,
    topology: Topology::Standalone,
    app: true,
    webhooks: false,
};

/// The files of the pod in a folder, and a redis-server that was started by the start script.
struct Pod {
    folder: TempDir,
    port: u16,
    credentials: Credentials,
    /// Where it speaks TLS.
    certificates: Option<Certificates>,
    process: Child,
}

impl Pod {
    fn start(spec: &Value) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        Self::start_in(folder, spec, "shop")
    }

    fn start_in(folder: TempDir, spec: &Value, name: &str) -> Self {
        let contents = credentials::missing(&name.parse().unwrap(), &Contents::new(), NEEDS).unwrap();
        let credentials = credentials::read(&contents, NEEDS).unwrap();
        let port = keystead_tests::free_port();
        let objects = objects(spec, name, &credentials);
        let find = |kind: Kind, name: &str| {
            objects.iter().find(|it| it.key.kind == kind && it.key.name == name).unwrap().body.clone()
        };
        let root = folder.path().to_str().unwrap().to_owned();
        let here = |text: &str| {
            text.replace("/etc/keystead", &root)
                .replace("/data", &format!("{root}/data"))
                .replace("port 6379", &format!("port {port}"))
                .replace("-p 6379", &format!("-p {port}"))
        };
        for part in ["redis", "users", "monitor", "keeper"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let is_secured = spec["redis"]["tls"]["enabled"] == true;
        let certificates = is_secured.then(|| Certificates::new(&[]));
        if let Some(certificates) = &certificates {
            certificates.mount(&folder.path().join("tls"));
        }
        for (name, text) in find(Kind::ConfigMap, "redis-config")["data"].as_object().unwrap() {
            let path = folder.path().join("redis").join(name);
            fs::write(&path, here(text.as_str().unwrap())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let users = credentials::contents(find(Kind::Secret, "redis-users").get("data"));
        fs::write(folder.path().join("users/users.acl"), &users["users.acl"]).unwrap();
        fs::write(folder.path().join("monitor/password"), credentials.monitor_password.expose()).unwrap();
        let keeper = &credentials.members["keeper"];
        fs::write(folder.path().join("keeper/password"), keeper.expose()).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new("/bin/sh")
            .arg(folder.path().join("redis/start.sh"))
            .env("KEYSTEAD_TENANT", name)
            .stdout(log.try_clone().unwrap())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self { folder, port, credentials, certificates, process }
    }

    fn probe(&self, script: &str) -> Output {
        Command::new("/bin/sh").arg(self.folder.path().join("redis").join(script)).output().unwrap()
    }

    fn wait_ready(&self) {
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let probe = self.probe("ready.sh");
            if probe.status.success() {
                return;
            }
            assert!(Instant::now() < until, "{probe:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn cli(&self, user: &str, arguments: &[&str]) -> String {
        let trusted = self.folder.path().join("tls/ca.crt");
        self.cli_that_trusts(&trusted, user, arguments)
    }

    fn cli_that_trusts(&self, trusted: &Path, user: &str, arguments: &[&str]) -> String {
        let password = match user {
            "gateway" => self.credentials.gateway_password.expose(),
            "worker" => self.credentials.worker_password.expose(),
            "app" => self.credentials.members["app"].expose(),
            _ => self.credentials.monitor_password.expose(),
        };
        let port = self.port.to_string();
        let output = Command::new("redis-cli")
            .env("REDISCLI_AUTH", password)
            .args(["-p", &port, "--user", user])
            .args(self.certificates.iter().flat_map(|_| ["--tls", "--cacert", trusted.to_str().unwrap()]))
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The kubelet puts other users into the mounted Secret.
    fn change_users(&mut self, credentials: Credentials) {
        let objects = objects(&json!({}), "shop", &credentials);
        let secret = objects.iter().find(|it| it.key.name == "redis-users").unwrap();
        let users = credentials::contents(secret.body.get("data"));
        let path = self.folder.path().join("users/users.acl");
        fs::write(path.with_extension("new"), &users["users.acl"]).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
        self.credentials = credentials;
    }

    /// SIGTERM, as a pod is ended.
    fn terminate(&mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().unwrap();
    }

    fn into_folder(mut self) -> TempDir {
        self.terminate();
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn objects(spec: &Value, name: &str, credentials: &Credentials) -> Vec<Object> {
    let tenant: Tenant = serde_json::from_value(json!({
        "apiVersion": "keystead.io/v1alpha1", "kind": "Tenant", "metadata": { "name": name, "uid": "u" }, "spec": spec,
    }))
    .unwrap();
    let settings = Settings {
        gateway_namespace: "front".into(),
        worker_image: "w".into(),
        redis_images: "7.0=r".parse().unwrap(),
        default_redis_version: "7.0".into(),
        tracing: None,
        password_overlap: Duration::ZERO,
        usage_interval: Duration::from_secs(30),
        queue_metric: false,
        max_concurrent_rollouts: 10,
    };
    build(&Known {
        tenant: &validate(&tenant, &settings, None).unwrap(),
        settings: &settings,
        credentials: Some(credentials),
        addresses: &[("redis".into(), "10.3.2.1".into())],
        readers_ip: None,
        redis_sets: &[],
        tls: Some("an authority"),
        restarts_until: None,
    })
}

#[test]
fn redis_starts_and_everybody_may_do_what_is_theirs() {
    let pod = Pod::start(&json!({}));
    pod.wait_ready();
    assert_eq!(pod.cli("gateway", &["SET", "kv:{0}:e:a", "1"]), "OK");
    assert_eq!(pod.cli("worker", &["GET", "kv:{0}:e:a"]), "1");
    for (user, arguments) in [
        ("worker", vec!["GET", "auth:{a}:user"]),
        ("monitor", vec!["GET", "kv:{0}:e:a"]),
        ("monitor", vec!["ZRANGEBYSCORE", "kv:{0}:i", "0", "1"]),
        ("monitor", vec!["ZADD", "jobs:{j}:ready", "1", "a"]),
        ("monitor", vec!["HGET", "jobs:{j}:job:a", "payload"]),
        ("gateway", vec!["CONFIG", "GET", "*"]),
        ("gateway", vec!["GET", "other"]),
        ("gateway", vec!["FLUSHALL"]),
        ("gateway", vec!["REPLICAOF", "127.0.0.1", "1"]),
    ] {
        let said = pod.cli(user, &arguments);
        assert!(said.contains("NOPERM"), "{user} {arguments:?}: {said}");
    }
    let port = pod.port.to_string();
    let nobody = Command::new("redis-cli").args(["-p", &port, "PING"]).output().unwrap();
    assert!(String::from_utf8_lossy(&nobody.stdout).contains("NOAUTH"));
    for password in ["", "default"] {
        let tried = ["-p", &port, "AUTH", "default", password];
        let default = Command::new("redis-cli").args(tried).output().unwrap();
        assert!(String::from_utf8_lossy(&default.stdout).contains("WRONGPASS"), "{default:?}");
    }
}

#[test]
fn the_tenants_own_clients_have_their_own_keys_while_the_spec_names_any() {
    let spec = json!({ "network": { "allowFrom": [{ "podSelector": {} }] } });
    let mut pod = Pod::start(&spec);
    pod.wait_ready();
    assert_eq!(pod.cli("gateway", &["SET", "kv:{0}:e:a", "1"]), "OK");
    assert_eq!(pod.cli("app", &["SET", "app:a", "1"]), "OK");
    assert_eq!(pod.cli("app", &["INCR", "app:a"]), "2");
    for arguments in [
        vec!["GET", "kv:{0}:e:a"],
        vec!["SET", "auth:{a}:user", "1"],
        vec!["DEL", "jobs:{j}:ready"],
        vec!["FLUSHALL"],
        vec!["EVAL", "return 1", "0"],
        vec!["CONFIG", "GET", "*"],
        vec!["ACL", "LIST"],
        vec!["FUNCTION", "LOAD", "code"],
        vec!["KEYS", "*"],
    ] {
        let said = pod.cli("app", &arguments);
        assert!(said.contains("NOPERM"), "{arguments:?}: {said}");
    }

    // The spec names nobody any more: the Redis that runs lets none of them in.
    pod.change_users(pod.credentials.clone());
    let until = Instant::now() + Duration::from_secs(90);
    while pod.cli("app", &["GET", "app:a"]) == "2" {
        assert!(Instant::now() < until, "{}", pod.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(pod.cli("gateway", &["GET", "kv:{0}:e:a"]), "1");
}

#[test]
fn every_choice_of_the_spec_is_a_configuration_that_redis_takes() {
    for spec in [
        json!({ "redis": { "persistence": { "appendOnly": "Always" }, "evictionPolicy": "VolatileTtl" } }),
        json!({ "redis": { "persistence": { "appendOnly": "Never" }, "evictionPolicy": "VolatileLfu" } }),
        json!({ "redis": { "storage": { "ephemeral": true }, "evictionPolicy": "VolatileRandom" } }),
        json!({ "redis": { "config": {
            "active-defrag-cycle-max": "20", "active-defrag-cycle-min": "2", "active-expire-effort": "2",
            "activedefrag": "no", "auto-aof-rewrite-min-size": "32mb", "auto-aof-rewrite-percentage": "50",
            "busy-reply-threshold": "4000", "dynamic-hz": "no", "hash-max-listpack-entries": "100",
            "hash-max-listpack-value": "32", "hz": "20", "io-threads": "2", "latency-monitor-threshold": "10",
            "lazyfree-lazy-eviction": "no", "lazyfree-lazy-expire": "no", "lazyfree-lazy-server-del": "no",
            "lazyfree-lazy-user-del": "yes", "lfu-decay-time": "2", "lfu-log-factor": "5",
            "maxmemory-samples": "7", "notify-keyspace-events": "", "slowlog-log-slower-than": "-1",
            "slowlog-max-len": "10", "tcp-keepalive": "30", "zset-max-listpack-entries": "10",
            "zset-max-listpack-value": "10",
        } } }),
    ] {
        Pod::start(&spec).wait_ready();
    }
}

#[test]
fn passwords_change_while_redis_runs_and_nobody_is_cut_off() {
    let mut pod = Pod::start(&json!({}));
    pod.wait_ready();
    let port = pod.port.to_string();
    let mut connected = Command::new("redis-cli")
        .env("REDISCLI_AUTH", pod.credentials.gateway_password.expose())
        .args(["-p", &port, "--user", "gateway"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asks = connected.stdin.take().unwrap();
    writeln!(asks, "SET kv:{{0}}:e:a 1").unwrap();

    let mut changed = pod.credentials.clone();
    let first = std::mem::replace(&mut changed.gateway_password, "the-next-password".into());
    pod.change_users(changed);
    let until = Instant::now() + Duration::from_secs(90);
    while pod.cli("gateway", &["PING"]) != "PONG" {
        assert!(Instant::now() < until, "{}", pod.log());
        thread::sleep(Duration::from_millis(50));
    }
    let before = Command::new("redis-cli")
        .args(["-p", &port, "--no-auth-warning", "--user", "gateway", "--pass", first.expose(), "PING"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&before.stdout).contains("NOAUTH"), "{before:?}");

    writeln!(asks, "GET kv:{{0}}:e:a").unwrap();
    drop(asks);
    let answers = connected.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answers.stdout), "OK\n1\n", "the connection was cut: {answers:?}");
}

#[test]
fn settings_change_while_redis_runs_and_go_back_to_what_they_were() {
    let pod = Pod::start(&json!({ "redis": { "config": { "slowlog-max-len": "7" } } }));
    pod.wait_ready();
    let path = pod.folder.path().join("redis/live.conf");
    let live = |spec: &Value| {
        let objects = objects(spec, "shop", &pod.credentials);
        let map = objects.iter().find(|it| it.key.name == "redis-config").unwrap();
        map.body["data"]["live.conf"].as_str().unwrap().to_owned()
    };
    let has = |setting: &str| {
        // INFO tells of few settings; this is one of them.
        pod.cli("monitor", &["INFO", "memory"]).contains(setting)
    };
    assert!(has("maxmemory_policy:noeviction"));
    let changed = live(
        &json!({ "redis": { "evictionPolicy": "VolatileTtl", "config": { "notify-keyspace-events": "Ex" } } }),
    );
    for (text, wanted) in
        [(changed, "maxmemory_policy:volatile-ttl"), (live(&json!({})), "maxmemory_policy:noeviction")]
    {
        fs::write(&path, text).unwrap();
        let until = Instant::now() + Duration::from_secs(90);
        while !has(wanted) {
            assert!(Instant::now() < until, "{}", pod.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(pod.log().contains("users and settings were changed"), "{}", pod.log());
}

/// So that leaving a setting out again is the same as never having had it.
#[test]
fn what_settings_are_without_a_word_is_what_redis_makes_them() {
    let port = keystead_tests::free_port().to_string();
    let mut server = Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let get = |name: &str| {
        let output = Command::new("redis-cli").args(["-p", &port, "CONFIG", "GET", name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().nth(1).map(str::to_owned)
    };
    let until = Instant::now() + Duration::from_secs(90);
    while get("hz").is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    let ours = ["lazyfree-lazy-eviction", "lazyfree-lazy-expire", "lazyfree-lazy-server-del"];
    let others: Vec<_> = keystead_crds::live_settings()
        .filter(|(name, _)| !ours.contains(name))
        .map(|(name, default)| (name, get(name), if default == "64mb" { "67108864" } else { default }))
        .filter(|(_, of_redis, default)| of_redis.as_deref() != Some(default))
        .collect();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn what_was_written_is_there_after_the_pod_was_ended() {
    for persistence in ["EverySecond", "Never"] {
        is_there_after_the_end(&json!({ "redis": { "persistence": { "appendOnly": persistence } } }));
    }
}

fn is_there_after_the_end(spec: &Value) {
    let pod = Pod::start(spec);
    pod.wait_ready();
    assert_eq!(pod.cli("gateway", &["SET", "kv:{0}:e:a", "kept"]), "OK");
    // A script that writes more than once is a transaction in the append-only file.
    let script = "redis.call('SET', KEYS[1], 'kept') redis.call('ZADD', KEYS[2], 0, 'b')";
    let sha = pod.cli("gateway", &["SCRIPT", "LOAD", script]);
    pod.cli("gateway", &["EVALSHA", &sha, "2", "kv:{0}:e:b", "kv:{0}:i"]);
    let again = Pod::start_in(pod.into_folder(), spec, "shop");
    again.wait_ready();
    for key in ["a", "b"] {
        assert_eq!(again.cli("gateway", &["GET", &format!("kv:{{0}}:e:{key}")]), "kept", "{}", again.log());
    }
}

/// Redis alone would begin empty: it loads only the form that it writes.
#[test]
fn what_was_written_in_another_form_is_there_as_well() {
    let spec = |form: &str| json!({ "redis": { "persistence": { "appendOnly": form } } });
    let mut pod = Pod::start(&spec("EverySecond"));
    let forms = ["Never", "EverySecond", "Never", "Never", "Always", "EverySecond"];
    for (number, form) in forms.into_iter().enumerate() {
        pod.wait_ready();
        assert_eq!(pod.cli("gateway", &["SET", &format!("kv:{{0}}:e:{number}"), form]), "OK");
        pod = Pod::start_in(pod.into_folder(), &spec(form), "shop");
        pod.wait_ready();
        for (number, form) in forms.into_iter().take(number + 1).enumerate() {
            let kept = pod.cli("gateway", &["GET", &format!("kv:{{0}}:e:{number}")]);
            assert_eq!(kept, form, "{number}: {}", pod.log());
        }
    }
}

#[test]
fn the_volume_of_another_tenant_is_refused() {
    let pod = Pod::start(&json!({}));
    pod.wait_ready();
    let mut other = Pod::start_in(pod.into_folder(), &json!({}), "bank");
    assert!(!other.process.wait().unwrap().success());
    let log = other.log();
    assert!(log.contains("The volume belongs to tenant shop, not to bank: Redis is not started."), "{log}");
}

#[test]
fn a_dead_redis_is_neither_ready_nor_alive() {
    let mut pod = Pod::start(&json!({}));
    pod.wait_ready();
    assert!(pod.probe("alive.sh").status.success());
    pod.terminate();
    assert!(!pod.probe("alive.sh").status.success());
    assert!(!pod.probe("ready.sh").status.success());
}

#[test]
fn where_it_speaks_tls_another_certificate_is_taken_up_and_nobody_is_cut_off() {
    let mut pod = Pod::start(&json!({ "redis": { "tls": { "enabled": true } } }));
    pod.wait_ready();
    assert!(pod.probe("alive.sh").status.success());
    assert_eq!(pod.cli("gateway", &["SET", "kv:{0}:e:a", "1"]), "OK");
    let (port, former) = (pod.port.to_string(), pod.folder.path().join("former.crt"));
    let plain = Command::new("timeout").args(["2", "redis-cli", "-p", &port, "PING"]).output().unwrap();
    assert!(!plain.status.success() || plain.stdout.is_empty(), "{plain:?}");

    fs::copy(pod.folder.path().join("tls/ca.crt"), &former).unwrap();
    let mut connected = Command::new("redis-cli")
        .env("REDISCLI_AUTH", pod.credentials.gateway_password.expose())
        .args(["-p", &port, "--user", "gateway", "--tls", "--cacert"])
        .arg(&former)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asks = connected.stdin.take().unwrap();
    writeln!(asks, "SET kv:{{0}}:e:a 2").unwrap();
    let until = Instant::now() + Duration::from_secs(90);
    while pod.cli("gateway", &["GET", "kv:{0}:e:a"]) != "2" {
        assert!(Instant::now() < until, "{}", pod.log());
    }

    // Also one of an authority of which nobody has heard before.
    let certificates = pod.certificates.as_mut().unwrap();
    certificates.take_authority();
    certificates.change(Change::Issue);
    certificates.change(Change::Forget);
    certificates.mount(&pod.folder.path().join("tls"));
    while pod.cli("gateway", &["PING"]) != "PONG" {
        assert!(Instant::now() < until, "{}", pod.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert_ne!(pod.cli_that_trusts(&former, "gateway", &["PING"]), "PONG");
    assert!(pod.probe("ready.sh").status.success());

    writeln!(asks, "GET kv:{{0}}:e:a").unwrap();
    drop(asks);
    let answers = connected.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answers.stdout), "OK\n2\n", "the connection was cut: {answers:?}");
    let denied = pod.log();
    assert!(!denied.contains("could not be changed"), "{denied}");
}

#[test]
fn the_scripts_pass_shellcheck() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tenant/build/scripts");
    let scripts = ["start.sh", "volume.sh", "ready.sh", "alive.sh", "tls.sh"].map(|name| folder.join(name));
    match Command::new("shellcheck").args(scripts).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(_) => eprintln!("skipped: shellcheck is not installed"),
    }
}
