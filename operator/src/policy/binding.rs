//! [`binding`]: the content of a binding. Pure.

use std::collections::{BTreeMap, BTreeSet};

use framebuffer_contract::kubernetes::INJECT_LABEL;
use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::MANAGER;
use crate::api::{FrameBuffer, MAX_NAME};

/// Label of our bindings, with the policy's name as value: one watch selects exactly them.
pub const POLICY_LABEL: &str = "framebuffer.dev/policy";

/// The resource of bindings, which is newer than our typed API.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingAdmissionPolicyBinding",
    ))
}

/// The resource of policies.
pub fn policy_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"))
}

/// The policy that owns the bindings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Distinguishes it from an earlier policy of that name.
    pub uid: String,
}

/// The names of `FrameBuffer`s: those to bind, and those beyond the limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// To bind.
    pub chosen: BTreeSet<String>,
    /// Not to bind.
    pub beyond: BTreeSet<String>,
}

impl Names {
    /// Chooses up to `limit` names, the oldest first: whoever comes later pushes out nobody. A name is as old as its
    /// oldest `FrameBuffer`. Names that do not fit into a label are left out: no pod can ask for them.
    pub fn choose<'a>(framebuffers: impl Iterator<Item = &'a FrameBuffer>, limit: usize) -> Self {
        let mut created: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for framebuffer in framebuffers {
            let Some(name) = framebuffer.metadata.name.as_deref().filter(|name| name.len() <= MAX_NAME) else {
                continue;
            };
            let time = framebuffer.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
            created.entry(name).and_modify(|oldest| *oldest = time.min(*oldest)).or_insert(time);
        }
        let mut names: Vec<(Timestamp, &str)> = created.into_iter().map(|(name, time)| (time, name)).collect();
        names.sort_unstable();
        let set = |names: &[(Timestamp, &str)]| names.iter().map(|(_, name)| (*name).to_owned()).collect();
        let (chosen, beyond) = names.split_at(limit.min(names.len()));
        Self { chosen: set(chosen), beyond: set(beyond) }
    }
}

/// The name of the binding for `framebuffer`. Both names are short DNS names, so this is a valid one.
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
            // Kubernetes deletes it with the policy: at uninstallation, or when the injection mode becomes `webhook`.
            "ownerReferences": [{
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingAdmissionPolicy",
                "name": policy.name,
                "uid": policy.uid,
            }],
        },
        // With the API server's defaults, so that it can be compared.
        "spec": {
            "policyName": policy.name,
            // Without a namespace: the FrameBuffer in the pod's own. If there is none, nothing is injected, and the
            // pod is refused.
            "paramRef": {"name": framebuffer, "parameterNotFoundAction": "Allow"},
            "matchResources": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {"matchLabels": {INJECT_LABEL: framebuffer}},
            },
        },
    })
}

/// The names among `names` that the chart's bindings serve: one binding for each, or one for all.
pub fn served(policy: &Policy, found: &[DynamicObject], names: &BTreeSet<String>) -> BTreeSet<String> {
    let specs: Vec<&Value> = found.iter().filter_map(|binding| binding.data.get("spec")).collect();
    let all = json!({
        "policyName": policy.name,
        "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"},
        "matchResources": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}},
    });
    let is_served = |name: &&String| specs.contains(&&all) || specs.contains(&&binding(policy, name)["spec"]);
    names.iter().filter(is_served).cloned().collect()
}

/// The JSON patch from `found` to `wanted`; `None` if they agree.
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
    // Each part as a whole, so that additions by others are removed.
    Some(json!([
        {"op": "add", "path": "/metadata/labels", "value": wanted["metadata"]["labels"]},
        {"op": "add", "path": "/metadata/ownerReferences", "value": wanted["metadata"]["ownerReferences"]},
        {"op": "add", "path": "/spec", "value": wanted["spec"]},
    ]))
}
