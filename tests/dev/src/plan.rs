//! From a Tenant's manifest to what its processes need. Writes the tenant's folder; starts nothing.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use keystead_crds::{Tenant, TlsSpec};
use keystead_operator::{
    settings::Settings,
    tenant::{
        build::{Known, Object, build},
        credentials::{
            self, Contents, Credentials,
            signing::{self, Place},
        },
        names,
        validate::{ValidTenant, validate},
    },
};
use keystead_route::{Endpoint, Route, SECRET_KEY, SignUp, TenantName, secret_name};
use serde_json::Value;

/// Folder of the keys of values, for the worker.
pub(crate) const ENCRYPTION_KEYS: &str = "encryption-keys";
/// Folder of what webhooks are signed with, for the worker.
pub(crate) const WEBHOOK_SECRETS: &str = "webhook-secrets";

/// What one tenant's processes need.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: TenantName,
    /// Holds redis.conf, users.acl, the worker's password, data and logs.
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) route: Route,
    pub(crate) has_worker: bool,
    pub(crate) concurrency: u32,
    /// Where the audit log is sent.
    pub(crate) loki_url: Option<String>,
}

impl Plan {
    /// Writes the tenant's folder, keeping the secrets of a former run. A Replicated tenant has one Redis here, too, and none has TLS.
    pub(crate) fn of(tenant: &Tenant, folder: &Path) -> Result<Self> {
        let settings = settings()?;
        let mut tenant = tenant.clone();
        let redis = &mut tenant.spec.redis;
        (redis.topology, redis.members, redis.durability) = Default::default();
        redis.tls = TlsSpec::default();
        let valid = validate(&tenant, &settings, None)
            .with_context(|| format!("the Tenant {} cannot be served", name(&tenant)))?;
        crate::private_folder(&folder.join("data"))?;
        let credentials = credentials(&valid, folder)?;
        let objects = build(&Known {
            tenant: &valid,
            settings: &settings,
            credentials: Some(&credentials),
            addresses: &[(names::REDIS.into(), "127.0.0.1".into())],
            readers_ip: None,
            redis_sets: &[],
            tls: None,
            restarts_until: None,
        });
        let conf = find(&objects, names::REDIS_CONFIG)?["data"]["redis.conf"].as_str();
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let conf = conf.context("there is no redis.conf")?;
        fs::write(folder.join("redis.conf"), local(conf, port, folder))?;
        fs::write(folder.join("users.acl"), secret(&objects, names::REDIS_USERS, "users.acl")?)?;
        fs::write(folder.join("worker-password"), credentials.worker_password.expose())?;
        let keys = folder.join(ENCRYPTION_KEYS);
        fs::create_dir_all(&keys)?;
        for key in credentials.encryption.iter().flat_map(|encryption| &encryption.keys) {
            fs::write(keys.join(&key.name), key.secret.expose())?;
        }
        let secrets = folder.join(WEBHOOK_SECRETS);
        fs::create_dir_all(&secrets)?;
        for (name, secret) in &credentials.webhook_secrets {
            fs::write(secrets.join(name), secret.expose())?;
        }

        let mut route = Route::from_json(&secret(&objects, &secret_name(&valid.name), SECRET_KEY)?)?;
        route.redis.endpoint = Endpoint::Standalone { address: format!("127.0.0.1:{port}") };
        Ok(Self {
            has_worker: valid.worker.replicas.most() > 0,
            concurrency: valid.worker.concurrency,
            loki_url: valid.audit.and_then(|audit| audit.loki_url),
            folder: folder.to_owned(),
            name: valid.name,
            port,
            route,
        })
    }

    /// `host:port` of its Redis.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The Tenants of a folder's YAML files, by name.
pub(crate) fn read_tenants(folder: &Path) -> Result<Vec<Tenant>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("{} cannot be read: name a folder of manifests", folder.display()))?;
    let mut tenants = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if !path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let documents: Vec<Option<Value>> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{} is no YAML", path.display()))?;
        for document in documents.into_iter().flatten().filter(|document| document["kind"] == "Tenant") {
            let tenant = keystead_crds::check(&document, None)
                .map_err(anyhow::Error::from)
                .and_then(|()| Ok(serde_json::from_value::<Tenant>(document)?));
            tenants.push(tenant.with_context(|| path.display().to_string())?);
        }
    }
    if tenants.is_empty() {
        bail!(
            "{} holds no Tenant: put a manifest such as examples/tenant-minimal.yaml there",
            folder.display()
        );
    }
    tenants.sort_by_key(name);
    Ok(tenants)
}

pub(crate) fn name(tenant: &Tenant) -> String {
    tenant.metadata.name.clone().unwrap_or_default()
}

/// Whether accounts can be made through the API.
pub(crate) fn is_open(tenant: &Tenant) -> bool {
    tenant.spec.auth.sign_up == SignUp::Open
}

/// redis.conf with the places of this machine in place of the pod's.
fn local(conf: &str, port: u16, folder: &Path) -> String {
    let ours = |line: &&str| !["bind ", "port ", "dir ", "aclfile "].iter().any(|it| line.starts_with(it));
    let text: String = conf.lines().filter(ours).flat_map(|line| [line, "\n"]).collect();
    let folder = folder.display();
    text + &format!("bind 127.0.0.1\nport {port}\ndir \"{folder}/data\"\naclfile \"{folder}/users.acl\"\n")
}

/// Every version is the redis-server that is installed.
fn settings() -> Result<Settings> {
    Ok(Settings {
        gateway_namespace: "local".into(),
        worker_image: "local".into(),
        redis_images: "7.0=local,7.2=local,7.4=local,8.0=local".parse()?,
        default_redis_version: "7.0".into(),
        tracing: None,
        password_overlap: std::time::Duration::ZERO,
        usage_interval: std::time::Duration::from_secs(30),
        queue_metric: false,
        max_concurrent_rollouts: 10,
    }
    .checked()?)
}

/// Generated once, then only read.
fn credentials(tenant: &ValidTenant, folder: &Path) -> Result<Credentials> {
    let path = folder.join("credentials.json");
    let mut contents: Contents = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?,
        Err(error) if error.kind() == ErrorKind::NotFound => Contents::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut missing = credentials::missing(&tenant.name, &contents, tenant.needs())?;
    // There is one gateway: a key of another algorithm signs at once.
    let key = signing::name(tenant.auth.signing, Place::Active);
    if !contents.contains_key(key) && !missing.contains_key(key) {
        missing.insert(key.to_owned(), credentials::generate(&tenant.name, key)?);
    }
    if !missing.is_empty() {
        contents.extend(missing);
        fs::write(&path, serde_json::to_vec(&contents)?)?;
    }
    credentials::read(&contents, tenant.needs()).context("the credentials are not complete")
}

fn find<'a>(objects: &'a [Object], name: &str) -> Result<&'a Value> {
    let object = objects.iter().find(|object| object.key.name == name);
    object.map(|object| &object.body).with_context(|| format!("the operator builds no {name}"))
}

fn secret(objects: &[Object], name: &str, key: &str) -> Result<Vec<u8>> {
    let text = find(objects, name)?["data"][key].as_str();
    Ok(STANDARD.decode(text.with_context(|| format!("{name} has no {key}"))?)?)
}
