//! The dashboard asks for metrics that exist.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use framebuffer_chart_tests::file;
use serde_json::Value;

fn dashboard() -> Value {
    serde_json::from_str(&file("charts/framebuffer/dashboards/framebuffer.json")).unwrap()
}

/// Names of metrics in a text.
fn metrics(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("framebuffer_")).map(str::to_owned).collect()
}

fn expressions() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_metric_of_the_dashboard_is_documented() {
    let known = metrics(&(file("sidecar/README.md") + &file("operator/README.md")));
    let asked: Vec<String> = expressions().iter().flat_map(|expression| metrics(expression)).collect();
    assert!(asked.len() > 10);
    let unknown: Vec<_> =
        asked.iter().filter(|metric| !known.contains(&metric.trim_end_matches("_bucket").to_owned())).collect();
    assert!(unknown.is_empty(), "neither README has {unknown:?}");
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
