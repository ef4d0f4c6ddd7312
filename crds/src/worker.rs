//! `spec.worker`: the pods that run the tenant's jobs.

use kube::{KubeSchema, core::Rule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::redis::Resources;

/// The tenant's worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.image) || !has(self.schedules) || self.schedules.all(it, it.kind in ['ttl.sweep', 'kv.export', 'kv.import', 'kv.delete', 'kv.reencrypt', 'audit.flush', 'usage.snapshot', 'webhook'])")
        .message("worker.schedules has a kind that the operator's worker does not know: take ttl.sweep, kv.export, kv.import, kv.delete, kv.reencrypt, audit.flush, usage.snapshot or webhook, or set worker.image to a worker that knows it")
)]
pub struct WorkerSpec {
    /// Pods, or with autoscaling the least of them. 0: no worker, jobs wait.
    #[serde(default = "replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// Jobs that one pod runs at the same time.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: i32,
    /// A worker of your own that speaks the documented queue; its own entrypoint is run. The operator's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][^ \\\\t\\\\n]*$')")
        .message("worker.image is empty or no image reference: give one such as registry/worker:1.0, or leave it out to use the operator's"))]
    pub image: Option<String>,
    #[serde(default)]
    pub resources: Resources,
    /// Jobs that are queued again and again, once each time however many pods there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schedules: Vec<ScheduleSpec>,
    /// Where jobs of the kind webhook may go, signed with `webhook-secret` of the Secret credentials; nowhere when left out. The
    /// worker's NetworkPolicy is opened for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub webhooks: Vec<WebhookSpec>,
}

/// Somebody to whom webhooks may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    /// A name, `*.` and a name for all below it, or `*` for any.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^([*]|([*][.])?[a-z0-9_-]+([.][a-z0-9_-]+)*)$')")
        .message("no host: write a name in lower case such as hooks.example.com, *.example.com for all below it, or * for any"))]
    pub host: String,
    /// 443 when left out; with allowHttp also 80.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 1, max = 65_535)))]
    pub ports: Vec<i32>,
    /// Also without TLS: whoever is on the way can read and change what is sent.
    // The schema must not fill it in: an entry of a list that is filled in is another than the one that was applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
    /// Where the host may lead, such as 10.1.0.0/16. When left out to public addresses only: to none that is private, of this
    /// machine, link-local or of a cloud's metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(range, isCIDR(range))")
        .message("addresses has no address range: write one such as 10.1.0.0/16 or 2001:db8::/32"))]
    pub addresses: Vec<String>,
}

/// A job that is queued again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// Another for each schedule.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Minute, hour, day, month and weekday, in UTC, as in crontab(5) with numbers.
    #[schemars(length(max = 100))]
    #[x_kube(validation = cron())]
    pub cron: String,
    /// The kind of the job, such as kv.export; with a worker.image any that it knows.
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// Whatever the kind takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "payload")]
    pub payload: Option<Value>,
}

/// The shape of a schedule; a range the wrong way round is found by the operator.
fn cron() -> Rule {
    let field = |number: &str| {
        let item = format!("([*]|{number}(-{number})?)(/[1-5]?[0-9])?");
        format!("{item}(,{item})*")
    };
    let fields =
        ["[0-5]?[0-9]", "(1?[0-9]|2[0-3])", "(0?[1-9]|[12][0-9]|3[01])", "(0?[1-9]|1[0-2])", "[0-7]"];
    Rule::new(format!("self.matches('^{}$')", fields.map(field).join(" ")))
        .message("no schedule: write five fields, minute (0-59) hour (0-23) day (1-31) month (1-12) weekday (0-7), each *, a number, a range, a list or a step, such as \"0 3 * * *\"")
}

fn payload(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

fn replicas() -> i32 {
    1
}

fn concurrency() -> i32 {
    16
}

impl Default for WorkerSpec {
    fn default() -> Self {
        Self {
            replicas: replicas(),
            concurrency: concurrency(),
            image: None,
            resources: Resources::default(),
            schedules: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}
