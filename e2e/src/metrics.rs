//! Metrics of components: histograms of the API server and the operator, memory and CPU from the kubelet.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::Value;

use crate::program::kubectl;

/// Cumulative counts by upper bound.
pub type Histogram = BTreeMap<Bound, f64>;

/// An upper bound in nanoseconds; `u64::MAX` is infinity.
pub type Bound = u64;

/// Adds up the lines of a histogram that contain `label`.
pub fn histogram(text: &str, name: &str, label: &str) -> Histogram {
    let prefix = format!("{name}_bucket{{");
    let mut sums = Histogram::new();
    for line in text.lines().filter(|line| line.starts_with(&prefix) && line.contains(label)) {
        let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a bucket has a bound");
        let count: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a bucket has a count");
        // The cast saturates: infinity becomes the largest.
        #[allow(clippy::cast_sign_loss, reason = "bounds are positive")]
        let bound = (bound.parse::<f64>().expect("a bound is a number") * 1e9) as u64;
        *sums.entry(bound).or_default() += count;
    }
    sums
}

/// The value in milliseconds of the line that contains `label`, of a metric in seconds.
pub fn milliseconds(text: &str, name: &str, label: &str) -> f64 {
    let mut lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.find_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map_or(f64::NAN, |seconds| seconds * 1e3)
}

/// The difference of two states of a histogram.
pub fn since(before: &Histogram, after: &Histogram) -> Histogram {
    after.iter().map(|(bound, count)| (*bound, count - before.get(bound).unwrap_or(&0.0))).collect()
}

/// The quantile in milliseconds, with values spread evenly within a bucket.
#[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
pub fn quantile(histogram: &Histogram, part: f64) -> f64 {
    let all = histogram.values().copied().fold(0.0, f64::max);
    let (wanted, mut below, mut lower) = (part * all, 0.0, 0);
    for (bound, count) in histogram {
        if *count >= wanted && *count > below {
            let inside = (wanted - below) / (count - below);
            return (lower as f64 + inside * (bound - lower) as f64) / 1e6;
        }
        (below, lower) = (*count, *bound);
    }
    f64::NAN
}

/// Prints a measurement, also of a test that passes: output of `println` is shown for failed tests only.
pub fn measured(what: &str) {
    // If nobody reads it, nothing is lost.
    let _ = writeln!(std::io::stderr(), "measured: {what}");
}

/// The API server's own metrics.
pub fn api_server_metrics() -> String {
    kubectl(&["get", "--raw", "/metrics"])
}

/// Gets a path from a pod's port, through the API server's proxy.
pub fn served(namespace: &str, pod: &str, port: u16, path: &str) -> String {
    kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}")])
}

/// The resource usage of a container.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Working set in bytes, including the memory volumes charged to it.
    pub memory: u64,
    /// CPU time since its start, in nanoseconds.
    pub cpu: u64,
}

/// The usage of a container according to the kubelet of `node`; `None` before its first measurement. It is up to ten
/// seconds old.
pub fn usage(node: &str, namespace: &str, pod: &str, container: &str) -> Option<Usage> {
    let summary = kubectl(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/stats/summary")]);
    let summary: Value = serde_json::from_str(&summary).expect("the kubelet answers in JSON");
    find(&summary, namespace, pod, container)
}

fn find(summary: &Value, namespace: &str, pod: &str, container: &str) -> Option<Usage> {
    let pods = summary["pods"].as_array()?;
    let named = |found: &&Value| found["podRef"]["name"] == pod && found["podRef"]["namespace"] == namespace;
    let containers = pods.iter().find(named)?["containers"].as_array()?;
    let found = containers.iter().find(|found| found["name"] == container)?;
    Some(Usage {
        memory: found["memory"]["workingSetBytes"].as_u64()?,
        cpu: found["cpu"]["usageCoreNanoSeconds"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE took histogram
took_bucket{name=\"a\",le=\"0.005\"} 50
took_bucket{name=\"a\",le=\"0.025\"} 100
took_bucket{name=\"a\",le=\"+Inf\"} 100
took_bucket{name=\"b\",le=\"0.005\"} 7
";

    #[test]
    fn a_single_value_is_found_by_its_labels() {
        let text = "took{q=\"0.5\"} 0.001\ntook{q=\"0.99\"} 0.0045\n";
        assert!((milliseconds(text, "took{", "q=\"0.99\"") - 4.5).abs() < 1e-9);
        assert!(milliseconds(text, "took{", "q=\"1\"").is_nan());
    }

    #[test]
    fn a_quantile_is_within_the_bucket_that_has_it() {
        let found = histogram(TEXT, "took", "name=\"a\"");
        assert_eq!(found.values().copied().collect::<Vec<_>>(), [50.0, 100.0, 100.0]);
        assert!((quantile(&found, 0.5) - 5.0).abs() < 1e-9);
        assert!((quantile(&found, 0.75) - 15.0).abs() < 1e-9);
        assert!(quantile(&Histogram::new(), 0.5).is_nan());
        let nothing = since(&found, &found);
        assert!(quantile(&nothing, 0.5).is_nan());
    }
}
