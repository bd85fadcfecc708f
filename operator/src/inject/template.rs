//! [`templates`]: finds pods in manifests, for the command line. The webhook only sees pods.

use serde_json::Value;

/// JSON pointers of pods and pod templates in a manifest of any kind: a pod, a workload (also a custom one, if it has
/// its pod template in one of the usual places), or a list of these.
pub fn templates(manifest: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(manifest, "", &mut found);
    found
}

/// Paths of pods and templates: a pod itself, a Deployment and the like, a `CronJob`, a `PodTemplate`.
const PLACES: [&str; 4] = ["", "/spec/template", "/spec/jobTemplate/spec/template", "/template"];

fn collect(manifest: &Value, path: &str, found: &mut Vec<String>) {
    let list = manifest.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if let (true, Some(items)) = (list, manifest.get("items").and_then(Value::as_array)) {
        for (index, item) in items.iter().enumerate() {
            collect(item, &format!("{path}/items/{index}"), found);
        }
        return;
    }
    let is_pod = |place: &&&str| manifest.pointer(&format!("{place}/spec/containers")).is_some_and(Value::is_array);
    found.extend(PLACES.iter().find(is_pod).map(|place| format!("{path}{place}")));
}
