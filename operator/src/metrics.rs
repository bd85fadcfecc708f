//! [`Metrics`]: the operator's metrics, as `OpenMetrics` text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::injector::Injector;

/// The result of an admission request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Outcome {
    Injected,
    Unchanged,
    Denied,
    Failed,
    Malformed,
    Busy,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    result: Outcome,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
        };
        name.encode(encoder)
    }
}

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    admissions: Family<AdmissionLabels, Counter>,
    durations: Histogram,
    /// Reconciliations of `FrameBuffer`s.
    pub reconciliations: Counter,
    /// Reconciliations that failed.
    pub reconcile_errors: Counter,
    /// Statuses written.
    pub status_writes: Counter,
    /// Statuses put back after somebody else had changed them.
    pub status_repairs: Counter,
    /// Restarts of owners.
    pub restarts: Counter,
    /// 1 in the replica that leads.
    pub leader: Gauge,
    /// Labelled pods that are counted.
    pub pods: Gauge,
    /// Expiry of the serving certificate.
    pub certificate_expiry: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Injector::Webhook)
    }
}

impl Metrics {
    /// The metrics of a replica. Those of admissions and certificates exist only if the webhook injects.
    pub fn new(injector: Injector) -> Self {
        // From 0.1 ms to 1.6 s.
        let durations = Histogram::new((0..15).map(|power| 0.0001 * f64::from(1 << power)));
        let mut metrics = Self {
            registry: Registry::with_prefix("framebuffer_operator"),
            admissions: Family::default(),
            durations,
            reconciliations: Counter::default(),
            reconcile_errors: Counter::default(),
            status_writes: Counter::default(),
            status_repairs: Counter::default(),
            restarts: Counter::default(),
            leader: Gauge::default(),
            pods: Gauge::default(),
            certificate_expiry: Gauge::default(),
        };
        metrics.register();
        if injector == Injector::Webhook {
            metrics.register_webhook();
        }
        metrics
    }

    fn register(&mut self) {
        let Self { registry, reconciliations, reconcile_errors, status_writes, status_repairs, .. } = self;
        let (restarts, leader, pods) = (&self.restarts, &self.leader, &self.pods);
        registry.register("build", "The operator's version", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("reconciliations", "Reconciliations of FrameBuffers", reconciliations.clone());
        registry.register("reconcile_errors", "Reconciliations that failed", reconcile_errors.clone());
        registry.register("status_writes", "Statuses written", status_writes.clone());
        let help = "Statuses put back after somebody else had changed them";
        registry.register("status_repairs", help, status_repairs.clone());
        registry.register("restarts", "Restarts of Deployments, StatefulSets and DaemonSets", restarts.clone());
        registry.register("leader", "1 in the replica that leads", leader.clone());
        registry.register("pods", "Labelled pods that the leader counts", pods.clone());
    }

    fn register_webhook(&mut self) {
        let Self { registry, admissions, durations, certificate_expiry, .. } = self;
        registry.register("admissions", "Admission requests, by result", admissions.clone());
        registry.register_with_unit("admission_duration", "Time per decision", Unit::Seconds, durations.clone());
        let help = "Expiry of the serving certificate";
        registry.register_with_unit("certificate_expiry_timestamp", help, Unit::Seconds, certificate_expiry.clone());
    }

    /// Counts an admission request.
    pub fn admitted(&self, result: Outcome, took: Duration) {
        self.admissions.get_or_create(&AdmissionLabels { result }).inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// `OpenMetrics` text.
    ///
    /// # Panics
    ///
    /// Never: a string can always be written to.
    pub fn text(self: &Arc<Self>) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_webhook_no_certificate_seems_to_have_expired() {
        let expiry = |injector| Arc::new(Metrics::new(injector)).text().contains("certificate_expiry");
        assert!(expiry(Injector::Webhook) && !expiry(Injector::Policy));
    }
}
