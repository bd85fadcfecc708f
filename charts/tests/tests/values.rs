//! values.yaml, values.schema.json and the README's tables agree.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::collections::BTreeSet;

use framebuffer_chart_tests::{documents, file};
use serde_json::Value;

fn values() -> Value {
    documents(&file("charts/framebuffer/values.yaml")).remove(0)
}

fn schema() -> Value {
    serde_json::from_str(&file("charts/framebuffer/values.schema.json")).unwrap()
}

/// Paths of all leaves that the schema knows. An object without properties of its own is a leaf: Kubernetes checks it.
fn in_schema(schema: &Value, path: &str, leaves: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        leaves.insert(path.to_owned());
        return;
    };
    for (name, property) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        in_schema(property, &path, leaves);
    }
}

fn leaves() -> BTreeSet<String> {
    let mut leaves = BTreeSet::new();
    in_schema(&schema(), "", &mut leaves);
    // Helm's own, and the parts of a reference that is empty by default.
    leaves.remove("global");
    leaves.retain(|leaf| !leaf.starts_with("certManager.issuerRef."));
    leaves.insert("certManager.issuerRef".to_owned());
    leaves
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, key| value.get(key))
}

fn rows() -> Vec<(String, String)> {
    let readme = file("charts/framebuffer/README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| row.split('|').collect::<Vec<_>>());
    let trim = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.map(|cells| (trim(cells[0]), trim(cells[1]))).collect()
}

#[test]
fn every_value_has_a_default() {
    let values = values();
    let without: Vec<_> = leaves().into_iter().filter(|leaf| at(&values, leaf).is_none()).collect();
    assert!(without.is_empty(), "not in values.yaml: {without:?}");
}

#[test]
fn every_default_is_in_the_schema() {
    fn walk(values: &Value, path: &str, leaves: &BTreeSet<String>, unknown: &mut Vec<String>) {
        if leaves.contains(path) {
            return;
        }
        match values.as_object().filter(|map| !map.is_empty()) {
            Some(map) => {
                for (name, value) in map {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk(value, &path, leaves, unknown);
                }
            }
            None => unknown.push(path.to_owned()),
        }
    }
    let mut unknown = Vec::new();
    walk(&values(), "", &leaves(), &mut unknown);
    assert!(unknown.is_empty(), "not in values.schema.json: {unknown:?}");
}

#[test]
fn the_schema_refuses_unknown_names_at_every_level_and_describes_each() {
    fn walk(schema: &Value, path: &str) {
        if !path.is_empty() {
            assert!(schema["description"].is_string(), "{path} has no description");
        }
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "`{path}` takes anything");
            for (name, property) in properties {
                walk(property, &format!("{path}.{name}"));
            }
        }
    }
    walk(&schema(), "");
}

#[test]
fn the_readme_has_a_row_for_every_value_and_for_nothing_else() {
    let documented: Vec<String> = rows().into_iter().map(|(key, _)| key).collect();
    let unique: BTreeSet<String> = documented.iter().cloned().collect();
    assert_eq!(documented.len(), unique.len(), "a value has two rows");
    let leaves = leaves();
    let missing: Vec<_> = leaves.difference(&unique).collect();
    let stale: Vec<_> = unique.difference(&leaves).collect();
    assert!(missing.is_empty() && stale.is_empty(), "without a row: {missing:?}; without a value: {stale:?}");
}

#[test]
fn the_readme_shows_the_defaults() {
    let values = values();
    for (key, shown) in rows() {
        let Some(default) = at(&values, &key) else { panic!("{key} is not in values.yaml") };
        // Objects with content are described in words.
        if default.as_object().is_some_and(|map| !map.is_empty()) {
            continue;
        }
        let expected = default.as_str().map_or_else(
            || default.to_string(),
            |text| if text.is_empty() { "\"\"".to_owned() } else { text.to_owned() },
        );
        assert_eq!(shown, expected, "{key}");
    }
}
