//! [`find`]: finds pods in manifests, for the command line. The webhook only sees pods.

use framebuffer_contract::kubernetes::INJECT_LABEL;
use serde_json::Value;

/// Fields that choose pods by their labels: a label there asks for nothing.
const SELECTORS: [&str; 4] = ["matchLabels", "selector", "podSelector", "nodeSelector"];

/// What a manifest has; JSON pointers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Pods and pod templates: objects with a list `spec.containers`, at any depth of any kind.
    pub templates: Vec<String>,
    /// Objects with the label that belong to none of them: what becomes of it is up to the kind's own controller.
    pub strays: Vec<String>,
}

/// Finds pods and pod templates in a manifest of any kind, and labels elsewhere.
pub fn find(manifest: &Value) -> Found {
    let mut found = Found::default();
    collect(manifest, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut Found) {
    match value {
        Value::Object(_) if value.pointer("/spec/containers").is_some_and(Value::is_array) => {
            found.templates.push(path.to_owned());
        }
        Value::Object(fields) => {
            if fields.get(INJECT_LABEL).is_some_and(Value::is_string) {
                found.strays.push(path.to_owned());
            }
            for (name, field) in fields.iter().filter(|(name, _)| !SELECTORS.contains(&name.as_str())) {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}
