//! [`Operation`]: an addition to a pod. [`build`] computes them, [`apply`] applies them.

use framebuffer_contract::kubernetes::{INJECTED_ANNOTATION, VOLUME};
use serde::Serialize;
use serde_json::{Value, json};

use super::pod::{Container, Pod, text};
use crate::render::Rendering;

/// An operation of a JSON patch (RFC 6902), always `add`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    op: &'static str,
    path: String,
    value: Value,
}

fn add(path: impl Into<String>, value: Value) -> Operation {
    Operation { op: "add", path: path.into(), value }
}

/// The additions to a pod. Containers come first: the sidecar, once inserted, shifts the indexes of init containers.
pub(super) fn build(pod: &Pod<'_>, chosen: &[Container<'_>], injected: bool, rendering: &Rendering) -> Vec<Operation> {
    let mut patch: Vec<Operation> = chosen.iter().flat_map(|container| in_container(container, rendering)).collect();
    if !pod.volumes().iter().any(|volume| text(volume, "name") == VOLUME) {
        patch.push(append("/spec/volumes", pod.field("volumes"), value(&rendering.content.volume)));
    }
    patch.extend(pull_secrets(pod, rendering));
    if !injected {
        let value = value(&rendering.content.sidecar);
        patch.push(match pod.field("initContainers") {
            Some(_) => add("/spec/initContainers/0", value),
            None => add("/spec/initContainers", json!([value])),
        });
    }
    if pod.annotation(INJECTED_ANNOTATION) != Some(&rendering.hash) {
        patch.push(annotation(pod, &rendering.hash));
    }
    patch
}

fn pull_secrets(pod: &Pod<'_>, rendering: &Rendering) -> Vec<Operation> {
    let has = |name: &str| pod.pull_secrets().iter().any(|secret| text(secret, "name") == name);
    let missing = rendering.content.image_pull_secrets.iter().filter(|secret| !has(&secret.name)).map(value);
    if pod.field("imagePullSecrets").is_some() {
        return missing.map(|secret| add("/spec/imagePullSecrets/-", secret)).collect();
    }
    let all: Vec<Value> = missing.collect();
    if all.is_empty() { Vec::new() } else { vec![add("/spec/imagePullSecrets", Value::Array(all))] }
}

fn in_container(container: &Container<'_>, rendering: &Rendering) -> Vec<Operation> {
    let mut patch = Vec::new();
    let mount = &rendering.content.volume_mount;
    if !container.mounts().any(|mounted| mounted.path == mount.mount_path) {
        let path = format!("{}/volumeMounts", container.path);
        patch.push(append(&path, container.field("volumeMounts"), value(mount)));
    }
    let has = |name: &str| container.env().any(|variable| text(variable, "name") == name);
    let missing: Vec<Value> = rendering.content.env.iter().filter(|variable| !has(&variable.name)).map(value).collect();
    let path = format!("{}/env", container.path);
    if container.field("env").is_none() && !missing.is_empty() {
        patch.push(add(path, Value::Array(missing)));
    } else {
        // In front, so that the user's variables can refer to them as $(FRAMEBUFFER_URL).
        patch.extend(missing.into_iter().rev().map(|variable| add(format!("{path}/0"), variable)));
    }
    patch
}

fn append(path: &str, list: Option<&Value>, value: Value) -> Operation {
    match list {
        Some(_) => add(format!("{path}/-"), value),
        None => add(path, json!([value])),
    }
}

fn annotation(pod: &Pod<'_>, hash: &str) -> Operation {
    let annotations = json!({INJECTED_ANNOTATION: hash});
    match (pod.metadata(), pod.annotations()) {
        (None, _) => add("/metadata", json!({"annotations": annotations})),
        (Some(_), None) => add("/metadata/annotations", annotations),
        (Some(_), Some(_)) => {
            add(format!("/metadata/annotations/{}", INJECTED_ANNOTATION.replace('/', "~1")), json!(hash))
        }
    }
}

/// The JSON of a Kubernetes type.
pub(super) fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types have string keys only")
}

/// Whether `actual` contains everything in `expected`. Lists may have more items, and objects more fields, such as the
/// API server's defaults.
pub(super) fn contains(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().all(|(key, expected)| actual.get(key).is_some_and(|actual| contains(actual, expected)))
        }
        (Value::Array(actual), Value::Array(expected)) => {
            expected.iter().all(|expected| actual.iter().any(|actual| contains(actual, expected)))
        }
        (actual, expected) => actual == expected,
    }
}

/// Applies a patch of [`super::inject`] to the pod for which it was made.
///
/// # Panics
///
/// If the patch was made for another pod.
pub fn apply(pod: &mut Value, patch: &[Operation]) {
    for Operation { op: _, path, value } in patch {
        let (parent, key) = path.rsplit_once('/').expect("paths are absolute");
        let key = key.replace("~1", "/").replace("~0", "~");
        match pod.pointer_mut(parent).expect("the patch is of this pod") {
            Value::Object(fields) => {
                fields.insert(key, value.clone());
            }
            Value::Array(items) => {
                let index = if key == "-" { items.len() } else { key.parse().expect("an index") };
                items.insert(index, value.clone());
            }
            _ => unreachable!("the patch is of this pod"),
        }
    }
}
