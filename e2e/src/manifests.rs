//! Manifests that several tests use.

use framebuffer_contract::kubernetes::INJECT_LABEL;
use serde_json::{Value, json};

use crate::settings::{busybox, image};

/// The API version of `FrameBuffer`s.
const API_VERSION: &str = "framebuffer.dev/v1alpha1";

/// The name of the `FrameBuffer` in most tests.
pub const RING: &str = "frames";

/// A `FrameBuffer` named [`RING`].
pub fn framebuffer(spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "FrameBuffer", "metadata": {"name": RING}, "spec": spec})
}

/// A container that runs a shell script.
pub fn script(name: &str, script: &str) -> Value {
    json!({"name": name, "image": busybox(), "command": ["/bin/sh", "-c", script], "imagePullPolicy": "IfNotPresent"})
}

/// A container that does nothing until it is terminated.
pub fn idle(name: &str) -> Value {
    script(name, "trap exit TERM; while :; do sleep 1 & wait $!; done")
}

/// A container with the video example's writer or reader.
pub fn video(name: &str, program: &str, arguments: &[&str]) -> Value {
    json!({"name": name, "image": image(program), "args": arguments, "imagePullPolicy": "IfNotPresent"})
}

/// A pod without the label.
pub fn plain_pod(name: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": containers,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
        },
    })
}

/// A pod that asks for the ring [`RING`].
pub fn pod(name: &str, containers: &[Value]) -> Value {
    let mut pod = plain_pod(name, containers);
    pod["metadata"]["labels"] = json!({INJECT_LABEL: RING});
    pod
}

/// A Deployment, `StatefulSet` or `DaemonSet` named like `name`, of pods that ask for the ring [`RING`].
pub fn workload(kind: &str, name: &str, containers: &[Value]) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, INJECT_LABEL: RING}},
                "spec": {
                    "containers": containers,
                    "terminationGracePeriodSeconds": 1,
                    "automountServiceAccountToken": false,
                },
            },
        },
    });
    if kind != "DaemonSet" {
        workload["spec"]["replicas"] = json!(1);
    }
    workload
}

/// A policy that changes the pods of a namespace, is called like it, and has this besides in its spec, and its binding.
///
/// # Panics
///
/// `rest` is no object.
pub fn mutating_policy(namespace: &str, rest: Value) -> [Value; 2] {
    let mut spec = json!({
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        ]},
        "reinvocationPolicy": "IfNeeded",
    });
    let Value::Object(rest) = rest else { panic!("no object: {rest}") };
    spec.as_object_mut().expect("it is one").extend(rest);
    let here = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
    [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": spec,
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": namespace},
            "spec": {"policyName": namespace, "matchResources": here},
        }),
    ]
}

/// Keeps a pod or pod template from being scheduled: it costs memory in the API server only.
pub fn without_node(pod: &mut Value) {
    pod["spec"]["schedulerName"] = json!("nobody");
}
