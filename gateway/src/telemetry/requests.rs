//! Requests by method, route and status, counted without a look-up by label.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use axum::http::{Method, StatusCode};
use foldhash::fast::RandomState;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

/// A client may invent methods: those share the last label.
const METHODS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "other"];
/// Every status that the gateway answers with often.
const STATUSES: [u16; 20] =
    [200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429, 503, 504, 507];
/// The label of a path that there is not.
const NO_ROUTE: &str = "none";

/// Counters and times of all routes.
#[derive(Debug)]
pub(crate) struct Requests {
    count: IntCounterVec,
    duration: HistogramVec,
    routes: HashMap<String, Route, RandomState>,
}

#[derive(Debug, Default)]
struct Route {
    counts: [[OnceLock<IntCounter>; STATUSES.len()]; METHODS.len()],
    durations: [OnceLock<Histogram>; METHODS.len()],
}

impl Requests {
    pub(super) fn new(
        registry: &Registry,
        paths: impl IntoIterator<Item = String>,
    ) -> Result<Self, prometheus::Error> {
        let count = IntCounterVec::new(
            Opts::new("http_requests_total", "Requests by method, route and status"),
            &["method", "endpoint", "status"],
        )?;
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        let duration = HistogramVec::new(
            HistogramOpts::new("http_request_duration_seconds", "Time to answer, by method and route")
                .buckets(buckets),
            &["method", "endpoint"],
        )?;
        registry.register(Box::new(count.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        let paths = paths.into_iter().chain([NO_ROUTE.to_owned()]);
        let routes = paths.map(|path| (path, Route::default())).collect();
        Ok(Self { count, duration, routes })
    }

    /// Counts a request that was answered.
    pub(crate) fn observe(&self, method: &Method, path: Option<&str>, status: StatusCode, took: Duration) {
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        let path = path.unwrap_or(NO_ROUTE);
        let Some(route) = self.routes.get(path) else { return };
        let count = || self.count.with_label_values(&[METHODS[method], path, status.as_str()]);
        match STATUSES.iter().position(|known| *known == status.as_u16()) {
            Some(known) => route.counts[method][known].get_or_init(count).inc(),
            None => count().inc(),
        }
        route.durations[method]
            .get_or_init(|| self.duration.with_label_values(&[METHODS[method], path]))
            .observe(took.as_secs_f64());
    }
}
