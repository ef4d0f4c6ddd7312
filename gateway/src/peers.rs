//! The gateways beside this one: the addresses behind the name of a headless Service.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus::IntGauge;

const INTERVAL: Duration = Duration::from_secs(10);

/// The addresses that were found last.
#[derive(Debug, Default)]
pub struct Peers(ArcSwap<BTreeSet<IpAddr>>);

impl Peers {
    pub(crate) fn addresses(&self) -> Arc<BTreeSet<IpAddr>> {
        self.0.load_full()
    }

    /// Looks the name up for ever. While it cannot be found, the last addresses stay.
    pub async fn follow(&self, name: &str, count: &IntGauge) {
        let mut timer = tokio::time::interval(INTERVAL);
        loop {
            timer.tick().await;
            match tokio::net::lookup_host(name).await {
                Ok(found) => {
                    let found: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
                    count.set(i64::try_from(found.len()).unwrap_or(i64::MAX));
                    self.0.store(Arc::new(found));
                }
                Err(error) => tracing::debug!(name, %error, "the peers cannot be looked up"),
            }
        }
    }
}
