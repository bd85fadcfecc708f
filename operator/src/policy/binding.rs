//! What a binding says.

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::MANAGER;
use crate::api::{INJECT_LABEL, MAX_NAME};

/// Label of our bindings, with the policy's name: one label, so that one watch sees them and nothing else.
pub const POLICY_LABEL: &str = "framebuffer.dev/policy";

/// Bindings; newer than our types.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingAdmissionPolicyBinding",
    ))
}

/// The policy.
pub fn policy_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"))
}

/// The policy that bindings belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Tells it from one that had the name before.
    pub uid: String,
}

/// Names of `FrameBuffer`s that a label can hold: for others no pod can ask.
pub fn names<'a>(framebuffers: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    framebuffers.filter(|name| name.len() <= MAX_NAME).map(str::to_owned).collect()
}

/// The name of the binding for `framebuffer`. Both names are DNS names, and short: so is this one.
pub fn name(policy: &str, framebuffer: &str) -> String {
    format!("{policy}-{framebuffer}")
}

/// The binding of `policy` for the `FrameBuffer`s named `framebuffer`, in all namespaces.
pub fn binding(policy: &Policy, framebuffer: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {
            "name": name(&policy.name, framebuffer),
            "labels": {"app.kubernetes.io/managed-by": MANAGER, POLICY_LABEL: policy.name},
            // It goes with the policy: by an uninstallation, or when the webhook becomes the carrier.
            "ownerReferences": [{
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingAdmissionPolicy",
                "name": policy.name,
                "uid": policy.uid,
            }],
        },
        // With what the API server would fill in, to be compared.
        "spec": {
            "policyName": policy.name,
            // Without a namespace: the FrameBuffer of the pod's own. If there is none, nothing is injected, and the pod is refused.
            "paramRef": {"name": framebuffer, "parameterNotFoundAction": "Allow"},
            "matchResources": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {"matchLabels": {INJECT_LABEL: framebuffer}},
            },
        },
    })
}

/// What makes of `found` what is wanted, as a JSON patch; `None` if it is that.
pub fn repair(found: &DynamicObject, wanted: &Value) -> Option<Value> {
    let labels = found.metadata.labels.clone().unwrap_or_default();
    let labelled = wanted["metadata"]["labels"]
        .as_object()
        .is_some_and(|all| all.iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str()));
    let owners = found.metadata.owner_references.iter().flatten();
    let owned = owners
        .map(|owner| owner.uid.as_str())
        .eq([wanted["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default()]);
    if labelled && owned && found.data.get("spec") == Some(&wanted["spec"]) {
        return None;
    }
    // Parts as a whole: what somebody has added goes as well.
    Some(json!([
        {"op": "add", "path": "/metadata/labels", "value": wanted["metadata"]["labels"]},
        {"op": "add", "path": "/metadata/ownerReferences", "value": wanted["metadata"]["ownerReferences"]},
        {"op": "add", "path": "/spec", "value": wanted["spec"]},
    ]))
}
