//! Warnings about effects that work but may surprise. Kubernetes shows them to the user who applies the pod.

use framebuffer_contract::kubernetes::{INJECTED_ANNOTATION, SIDECAR, VOLUME};
use serde_json::Value;

use super::architecture;
use super::patch::value;
use super::pod::{Container, Pod, text};
use crate::render::Rendering;

pub(super) const MIRROR: &str =
    "framebuffer: a static pod cannot be injected; put the output of `framebuffer-operator inject` into its file";

/// The pod has another injection than the current one.
pub(super) fn other(pod: &Pod<'_>, rendering: &Rendering) -> String {
    let hash =
        pod.annotation(INJECTED_ANNOTATION).map_or("made by hand".to_owned(), |hash| format!("with hash {hash}"));
    let today = &rendering.hash;
    format!("framebuffer: the pod came with an injection {hash}, it is left as it is; today's hash is {today}")
}

pub(super) fn collect(pod: &Pod<'_>, chosen: &[Container<'_>], rendering: &Rendering) -> Vec<String> {
    let mut warnings = Vec::new();
    let path = &rendering.content.volume_mount.mount_path;
    if pod.flag("hostNetwork") {
        let ports: Vec<String> = rendering.ports().map(|port| port.container_port.to_string()).collect();
        warnings.push(format!(
            "framebuffer: the pod uses the host's network: any process of the node can reach its sidecar, and ports {} \
             must be free there",
            ports.join(" and ")
        ));
    }
    if pod.flag("hostIPC") && path == "/dev/shm" {
        warnings.push("framebuffer: the ring hides the host's /dev/shm, which hostIPC would show".to_owned());
    }
    if pod.field("resources").is_some() {
        let memory = rendering.content.sidecar.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let memory = memory.and_then(|limits| limits.get("memory")).map_or("", |memory| memory.0.as_str());
        warnings.push(format!(
            "framebuffer: the pod has resources of its own (spec.resources), which must also hold the sidecar's \
             {memory}"
        ));
    }
    if is_guaranteed(pod) && !is_guaranteed_by(&sidecar_resources(rendering)) {
        warnings.push(
            "framebuffer: the pod loses the quality of service Guaranteed, since its sidecar has no CPU limit equal to \
             its request: set both, and memory, in spec.sidecar.resources of the FrameBuffer, for example 100m"
                .to_owned(),
        );
    }
    warnings.extend(architecture::warning(pod, &rendering.architectures));
    for container in chosen {
        in_container(container, rendering, &mut warnings);
    }
    warnings
}

fn sidecar_resources(rendering: &Rendering) -> Value {
    value(&rendering.content.sidecar.resources)
}

/// Whether every container but the sidecar has limits of CPU and memory, and requests equal to them (by default they
/// are). Kubernetes compares amounts, and here their texts are compared: a warning may be missing.
fn is_guaranteed(pod: &Pod<'_>) -> bool {
    let mut others = pod.containers().chain(pod.init_containers()).filter(|container| container.name() != SIDECAR);
    pod.field("resources").is_none()
        && others.all(|container| container.field("resources").is_some_and(is_guaranteed_by))
}

fn is_guaranteed_by(resources: &Value) -> bool {
    ["cpu", "memory"].iter().all(|resource| {
        let of = |kind: &str| resources.get(kind).and_then(|amounts| amounts.get(resource));
        let limit = of("limits");
        limit.is_some() && of("requests").is_none_or(|request| Some(request) == limit)
    })
}

fn in_container(container: &Container<'_>, rendering: &Rendering, warnings: &mut Vec<String>) {
    let name = container.name();
    for ours in &rendering.content.env {
        let own = container.env().find(|variable| text(variable, "name") == ours.name);
        if own.is_some_and(|own| own.get("value").and_then(Value::as_str) != ours.value.as_deref()) {
            let variable = &ours.name;
            warnings.push(format!("framebuffer: container {name} sets {variable} itself, and keeps its own value"));
        }
    }
    let path = rendering.content.volume_mount.mount_path.as_str();
    for mount in container.mounts().filter(|mount| mount.volume != VOLUME) {
        let (inner, outer) = (mount.path.as_str(), mount.volume);
        if lies_in(inner, path) {
            warnings.push(format!("framebuffer: container {name} mounts {outer} at {inner}, inside the ring's {path}"));
        } else if lies_in(path, inner) {
            warnings.push(format!(
                "framebuffer: container {name} mounts {outer} at {inner}; the ring lies inside, at {path}"
            ));
        }
    }
}

fn lies_in(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}
