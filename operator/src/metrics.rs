//! Figures of the operator, for Prometheus. A tenant's name is a label only of what it uses.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::{kinds::Kind, tenant::names::METRIC_LABEL, usage::Usage};

/// Name of the gauge, and of the external metric, that workers are scaled by.
pub const QUEUE_DEPTH: &str = "keystead_queue_depth";

/// What a tenant uses: each has its name as the label `tenant`.
const USAGE: [(&str, &str); 11] = [
    ("keystead_tenant_keys", "Entries, without those that have expired."),
    ("keystead_tenant_memory_bytes", "Memory of Redis, of all shards together."),
    ("keystead_tenant_max_memory_bytes", "Memory that Redis may take; 0: no bound."),
    ("keystead_tenant_hit_ratio", "Share of look-ups of keys since Redis started that found one."),
    ("keystead_tenant_connections", "Clients that are connected to those Redis that take writes."),
    ("keystead_tenant_replication_lag_bytes", "How far the replica is behind that is the furthest."),
    (QUEUE_DEPTH, "Jobs that wait and may begin, and jobs that run."),
    ("keystead_tenant_queue_waiting", "Jobs that wait and may begin."),
    ("keystead_tenant_queue_running", "Jobs that run."),
    ("keystead_tenant_queue_age_seconds", "How long the job has waited that has waited the longest."),
    ("keystead_tenant_usage_observed_seconds", "When Redis told the others, as seconds since 1970."),
];

/// The figures; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    seconds: Histogram,
    writes: IntCounterVec,
    watch_errors: IntCounterVec,
    leader: IntGauge,
    objects: IntGauge,
    /// In the order of [`USAGE`].
    usage: Vec<GaugeVec>,
}

impl Metrics {
    /// Figures of their own, all at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let reconciles = counter(
            "keystead_operator_reconciles_total",
            "Passes over a tenant, by result: ok, or the reason of the error.",
            &["result"],
        )?;
        let writes = counter(
            "keystead_operator_writes_total",
            "Writes to the API server, by kind of object and verb.",
            &["kind", "verb"],
        )?;
        let watch_errors =
            counter("keystead_operator_watch_errors_total", "Watches that failed, by kind.", &["kind"])?;
        let leader = gauge("keystead_operator_leader", "1 while this process is the leader.")?;
        let objects = gauge("keystead_operator_objects", "Objects of tenants that are watched.")?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new("keystead_operator_reconcile_seconds", "Time of one pass over a tenant.")
                .buckets(prometheus::exponential_buckets(0.0005, 2.0, 16)?),
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let usage = USAGE.map(|(name, help)| {
            let gauge = GaugeVec::new(Opts::new(name, help), &[METRIC_LABEL])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        });
        let usage = usage.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { registry, reconciles, seconds, writes, watch_errors, leader, objects, usage })
    }

    /// A pass has ended.
    pub fn reconciled(&self, result: &str, took: Duration) {
        self.reconciles.with_label_values(&[result]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub fn wrote(&self, kind: Kind, verb: &str) {
        self.writes.with_label_values(&[kind.as_str(), verb]).inc();
    }

    /// A write to the Tenant itself.
    pub fn wrote_tenant(&self, verb: &str) {
        self.writes.with_label_values(&["Tenant", verb]).inc();
    }

    pub fn watch_failed(&self, kind: &str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    pub fn watches(&self, objects: usize) {
        self.objects.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// What a tenant was seen to use; what does not apply to it is not there.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is no count")]
    pub fn uses(&self, tenant: &str, usage: &Usage, at: Timestamp) {
        let (totals, jobs) = (&usage.totals, &usage.jobs);
        let now = at.as_millisecond() as f64 / 1e3;
        let values = [
            Some(usage.keys as f64),
            Some(totals.memory_bytes as f64),
            Some(totals.max_memory_bytes as f64),
            totals.hit_rate,
            Some(totals.connections as f64),
            totals.replication_lag_bytes.map(|bytes| bytes as f64),
            Some((jobs.waiting + jobs.running) as f64),
            Some(jobs.waiting as f64),
            Some(jobs.running as f64),
            Some(jobs.oldest.map_or(0.0, |oldest| (now - oldest as f64 / 1e3).max(0.0))),
            Some(now),
        ];
        for (gauge, value) in self.usage.iter().zip(values) {
            match value {
                Some(value) => gauge.with_label_values(&[tenant]).set(value),
                None => {
                    // It may not have been there.
                    let _ = gauge.remove_label_values(&[tenant]);
                }
            }
        }
    }

    /// A tenant that is gone.
    pub fn forget_usage(&self, tenant: &str) {
        for gauge in &self.usage {
            // It may not have been there.
            let _ = gauge.remove_label_values(&[tenant]);
        }
    }

    /// In Prometheus' text format.
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut buffer) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        String::from_utf8(buffer).unwrap_or_default()
    }
}
