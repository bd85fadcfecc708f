//! The dashboard shows the metrics that there are: all of them, and no others.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use framebuffer_chart_tests::file;
use framebuffer_operator::metrics::{Metrics, Outcome};
use serde_json::Value;

fn dashboard() -> Value {
    serde_json::from_str(&file("charts/framebuffer/dashboards/framebuffer.json")).unwrap()
}

/// Names of metrics in a text, as they are documented: of a histogram without the suffix of its buckets.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("framebuffer_")).map(|word| word.trim_end_matches("_bucket")).collect()
}

/// What the panels ask for.
fn expressions() -> String {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The sidecar's own tests hold its README to what it exports, and the next test the operator's.
#[test]
fn the_dashboard_shows_every_documented_metric_and_no_others() {
    let documented = file("sidecar/README.md") + &file("operator/README.md");
    assert_eq!(metrics(&expressions()), metrics(&documented));
}

#[test]
fn the_operators_readme_lists_its_metrics_and_no_others() {
    let operator = Arc::new(Metrics::default());
    operator.admitted(Outcome::Injected, Duration::ZERO);
    let text = operator.text();
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let samples = samples.join("\n");
    // A histogram's count and sum are documented as the histogram.
    let exported: BTreeSet<_> =
        metrics(&samples).into_iter().map(|name| name.trim_end_matches("_count").trim_end_matches("_sum")).collect();
    assert_eq!(metrics(&file("operator/README.md")), exported);
}

#[test]
fn panels_have_a_unit_a_description_and_a_place_of_their_own() {
    let dashboard = dashboard();
    let mut places = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = panel["gridPos"].to_string();
        assert!(!places.contains(&place), "{}", panel["title"]);
        places.push(place);
        if panel["type"] != "row" {
            assert!(
                panel["description"].is_string() && panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{}",
                panel["title"]
            );
        }
    }
}
