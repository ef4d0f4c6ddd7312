//! Figures of the operator, for Prometheus. No tenant's name is a label: there may be thousands.

use std::time::Duration;

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::kinds::Kind;

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
        Ok(Self { registry, reconciles, seconds, writes, watch_errors, leader, objects })
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

    /// In Prometheus' text format.
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut buffer) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        String::from_utf8(buffer).unwrap_or_default()
    }
}
