//! From samples to ratios: medians over the repetitions, one table for people and one document for machines.

use std::fmt;

use serde_json::{Value, json};

use crate::load::Sample;

/// The medians of a run.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<Row>,
    repetitions: u32,
}

#[derive(Debug)]
struct Row {
    service: &'static str,
    mix: &'static str,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: Option<(f64, f64)>,
    redis_us: Option<f64>,
}

impl Report {
    pub(crate) fn of(samples: &[Sample], repetitions: u32) -> Self {
        let mut kinds: Vec<(&str, &str)> = samples.iter().map(|s| (s.mix, s.service)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let rows = kinds
            .into_iter()
            .map(|(mix, service)| {
                let of_kind = || samples.iter().filter(|s| s.mix == mix && s.service == service);
                Row {
                    service,
                    mix,
                    per_second: median(of_kind().map(|s| s.per_second)),
                    p50_us: median(of_kind().map(|s| s.p50_us)),
                    p99_us: median(of_kind().map(|s| s.p99_us)),
                    cpu_us: of_kind().next().and_then(|s| s.cpu_us).map(|_| {
                        let part = |pick: fn((f64, f64)) -> f64| {
                            median(of_kind().filter_map(|s| s.cpu_us).map(pick))
                        };
                        (part(|cpu| cpu.0), part(|cpu| cpu.1))
                    }),
                    redis_us: of_kind()
                        .next()
                        .and_then(|s| s.redis_us)
                        .map(|_| median(of_kind().filter_map(|s| s.redis_us))),
                }
            })
            .collect();
        Self { rows, repetitions }
    }

    fn row(&self, mix: &str, service: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.mix == mix && row.service == service)
    }

    /// A figure of a service over that of another.
    fn ratio_of(&self, mix: &str, service: &str, over: &str, figure: fn(&Row) -> f64) -> Option<f64> {
        let ratio = figure(self.row(mix, service)?) / figure(self.row(mix, over)?);
        Some((ratio * 1000.0).round() / 1000.0)
    }

    fn eddsa_over_hs256(&self) -> Option<f64> {
        self.ratio_of("tokens", "eddsa", "hs256", |row| row.per_second)
    }

    /// The gateway's figure over that of another service.
    fn ratio(&self, mix: &str, over: &str, figure: fn(&Row) -> f64) -> Option<f64> {
        self.ratio_of(mix, "gateway", over, figure)
    }

    pub(crate) fn to_json(&self) -> Value {
        let rate: fn(&Row) -> f64 = |row| row.per_second;
        let p99: fn(&Row) -> f64 = |row| row.p99_us;
        let cpu: fn(&Row) -> f64 = |row| row.cpu_us.map_or(f64::NAN, |(user, kernel)| user + kernel);
        let of = |mix: &str| {
            json!({
                "vs_axum_floor": self.ratio(mix, "floor", rate),
                "vs_webdis": self.ratio(mix, "webdis", rate),
                "vs_fastapi": self.ratio(mix, "fastapi", rate),
                "p99_vs_axum_floor": self.ratio(mix, "floor", p99),
                "p99_vs_webdis": self.ratio(mix, "webdis", p99),
                "cpu_vs_axum_floor": self.ratio(mix, "floor", cpu),
            })
        };
        let mut get = of("get");
        get["vs_redis_benchmark"] = json!(self.ratio("get", "redis-benchmark", rate));
        let many = |mix: &str| {
            json!({
                "vs_axum_floor": self.ratio_of(mix, "gateway-256", "floor-256", rate),
                "vs_webdis": self.ratio_of(mix, "gateway-256", "webdis", rate),
                "cpu_vs_axum_floor": self.ratio_of(mix, "gateway-256", "floor-256", cpu),
                "p99_vs_axum_floor": self.ratio_of(mix, "gateway-256", "floor-256", p99),
            })
        };
        let medians: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "mix": row.mix, "service": row.service, "requests_per_second": row.per_second.round(),
                    "p50_us": row.p50_us, "p99_us": row.p99_us,
                    "cpu_user_us": row.cpu_us.map(|cpu| cpu.0), "cpu_kernel_us": row.cpu_us.map(|cpu| cpu.1),
                    "redis_cpu_us": row.redis_us,
                })
            })
            .collect();
        json!({
            "get": get,
            "mixed_90_10": of("mixed_90_10"),
            "tenants_256": {"get": many("get"), "mixed_90_10": many("mixed_90_10")},
            "eddsa_vs_hs256": self.eddsa_over_hs256(),
            "cached_vs_axum_floor": self.ratio_of("get", "cached", "floor", rate),
            "p99_vs_axum_floor": self.ratio("get", "floor", p99),
            "repetitions": self.repetitions,
            "medians": medians,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "\nMedians of {} interleaved repetitions; the last columns are the gateway over that service.",
            self.repetitions
        )?;
        writeln!(
            out,
            "{:<12} {:<16} {:>11} {:>8} {:>8} {:>15} {:>8} {:>7} {:>7}",
            "mix", "service", "requests/s", "p50 µs", "p99 µs", "CPU user+kernel", "Redis", "rate", "p99"
        )?;
        for row in &self.rows {
            let cpu =
                row.cpu_us.map_or_else(String::new, |(user, kernel)| format!("{user:.1} + {kernel:.1} µs"));
            let ratio = |figure| {
                self.ratio(row.mix, row.service, figure)
                    .map_or_else(String::new, |ratio| format!("{ratio:.2}"))
            };
            writeln!(
                out,
                "{:<12} {:<16} {:>11.0} {:>8.0} {:>8.0} {:>15} {:>8} {:>7} {:>7}",
                row.mix,
                row.service,
                row.per_second,
                row.p50_us,
                row.p99_us,
                cpu,
                row.redis_us.map_or_else(String::new, |redis| format!("{redis:.1} µs")),
                ratio(|row: &Row| row.per_second),
                ratio(|row: &Row| row.p99_us),
            )?;
        }
        if let Some(ratio) = self.eddsa_over_hs256() {
            writeln!(out, "EdDSA tokens over HS256 tokens: {ratio:.3}")?;
        }
        Ok(())
    }
}

/// The middle of the values; not a number where there are none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(service: &'static str, per_second: f64) -> Sample {
        Sample {
            service,
            mix: "get",
            per_second,
            p50_us: 1.0,
            p99_us: 2.0,
            cpu_us: Some((1.0, 1.0)),
            redis_us: Some(1.0),
        }
    }

    #[test]
    fn a_ratio_is_of_medians_so_that_one_bad_minute_does_not_count() {
        let samples = [
            sample("floor", 100.0),
            sample("gateway", 60.0),
            sample("floor", 100.0),
            sample("gateway", 1.0),
            sample("floor", 5.0),
            sample("gateway", 62.0),
        ];
        let json = Report::of(&samples, 3).to_json();
        assert_eq!(json["get"]["vs_axum_floor"], 0.6);
        assert_eq!(json["get"]["vs_webdis"], Value::Null);
    }
}
