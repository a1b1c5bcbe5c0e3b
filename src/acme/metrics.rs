//! What is counted of orders. When certificates end is counted where they are served ([`crate::proxy::tls::ends`]).

use std::collections::HashSet;
use std::sync::Arc;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::status::AuthorityStatus;

/// Certificates of an authority that are shown one by one.
const MOST: usize = 1000;

/// The metrics of all authorities.
#[derive(Clone, Debug)]
pub struct AcmeMetrics {
    orders: IntCounterVec,
    next: IntGaugeVec,
    failures: IntGaugeVec,
    left_out: IntGaugeVec,
}

impl AcmeMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let orders = Opts::new("pointsman_acme_orders_total", "Orders for certificates that ended here, by result.");
        let metrics = Self {
            orders: IntCounterVec::new(orders, &["authority", "result"])?,
            next: gauge(
                "pointsman_acme_next_order_seconds",
                "When the next order for a certificate is due, since 1970; 0: now.",
                &["authority", "pair"],
            )?,
            failures: gauge(
                "pointsman_acme_failures",
                "Orders for a certificate that failed since the last one that did not.",
                &["authority", "pair"],
            )?,
            left_out: gauge(
                "pointsman_acme_hosts_left_out",
                "Hosts of routes that get no certificate, because `max_route_hosts` others have one.",
                &["authority"],
            )?,
        };
        registry.register(Box::new(metrics.orders.clone()))?;
        for gauge in [&metrics.next, &metrics.failures, &metrics.left_out] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(metrics)
    }

    /// Counts an order that ended.
    pub fn ended(&self, authority: &str, is_issued: bool) {
        let result = if is_issued { "issued" } else { "failed" };
        self.orders.with_label_values(&[authority, result]).inc();
    }

    /// An authority is there: its counters begin at zero.
    pub fn begin(&self, authority: &str) {
        for result in ["issued", "failed"] {
            self.orders.with_label_values(&[authority, result]);
        }
    }

    /// Shows what is seen of an authority now, in place of what was before; a scrape meanwhile misses nothing that stays.
    pub fn show(&self, former: Option<&AuthorityStatus>, status: &AuthorityStatus) {
        let shown = |status: &AuthorityStatus| status.certificates.len().min(MOST);
        for pair in &status.certificates[..shown(status)] {
            let labels = [&*status.name, &*pair.name];
            self.next.with_label_values(&labels).set(pair.next_order);
            self.failures.with_label_values(&labels).set(pair.failures.into());
        }
        self.left_out.with_label_values(&[&*status.name]).set(i64::try_from(status.left_out.len()).unwrap_or(i64::MAX));
        let Some(former) = former else { return };
        let stays: HashSet<_> = status.certificates[..shown(status)].iter().map(|pair| &pair.name).collect();
        self.remove(
            &former.name,
            former.certificates.iter().map(|pair| &pair.name).filter(|name| !stays.contains(name)),
        );
    }

    /// An authority is gone.
    pub fn forget(&self, former: &AuthorityStatus) {
        self.remove(&former.name, former.certificates.iter().map(|pair| &pair.name));
        let _ = self.left_out.remove_label_values(&[&*former.name]);
    }

    /// Those that were never shown are not there: that is as good.
    fn remove<'a>(&self, authority: &str, pairs: impl Iterator<Item = &'a Arc<str>>) {
        for pair in pairs {
            let _ = self.next.remove_label_values(&[authority, pair]);
            let _ = self.failures.remove_label_values(&[authority, pair]);
        }
    }
}
