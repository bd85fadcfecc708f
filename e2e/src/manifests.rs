//! Manifests that several tests use.

use serde_json::{Value, json};

use crate::cluster::{busybox, image};

/// The label that asks for a ring.
pub const LABEL: &str = framebuffer_operator::api::INJECT_LABEL;
/// The annotation with the hash of what was injected.
pub const INJECTED: &str = framebuffer_operator::api::INJECTED_ANNOTATION;
/// The sidecar's container.
pub const SIDECAR: &str = "framebuffer-sidecar";
/// The name of the `FrameBuffer` in most tests.
pub const RING: &str = "frames";

/// A `FrameBuffer` named [`RING`].
pub fn framebuffer(spec: &Value) -> Value {
    json!({"apiVersion": "framebuffer.dev/v1alpha1", "kind": "FrameBuffer", "metadata": {"name": RING}, "spec": spec})
}

/// A container that runs a shell script.
pub fn script(name: &str, script: &str) -> Value {
    json!({"name": name, "image": busybox(), "command": ["/bin/sh", "-c", script], "imagePullPolicy": "IfNotPresent"})
}

/// A container that does nothing until it is told to end.
pub fn idle(name: &str) -> Value {
    script(name, "trap exit TERM; while :; do sleep 1 & wait $!; done")
}

/// The example's writer or reader.
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
    pod["metadata"]["labels"] = json!({LABEL: RING});
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
                "metadata": {"labels": {"app": name, LABEL: RING}},
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

/// Makes a pod or a template of pods one that no scheduler takes: it costs memory in the API server only.
pub fn without_node(pod: &mut Value) {
    pod["spec"]["schedulerName"] = json!("nobody");
}
