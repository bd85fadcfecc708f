//! Denials: of everything that the API server would refuse with an obscure message, or that would make the ring
//! silently unusable.

use framebuffer_contract::kubernetes::{ADMIN_PORT, INJECTED_ANNOTATION, PORT, SIDECAR, VOLUME};
use framebuffer_contract::variables;
use serde_json::{Value, json};

use super::denial::Denial;
use super::pod::{Container, Pod, text};
use crate::render::Rendering;

pub(super) fn not_windows(pod: &Pod<'_>) -> Result<(), Denial> {
    let os = pod.field("os").map(|os| text(os, "name"));
    let selected = pod.field("nodeSelector").map(|selector| text(selector, "kubernetes.io/os"));
    if [os, selected].contains(&Some("windows")) { Err(Denial::Windows) } else { Ok(()) }
}

/// The chosen containers: those that the `FrameBuffer` names, or all but the init containers. An init container named
/// there starts after the sidecar, so the ring exists by then.
pub(super) fn chosen<'a>(pod: &Pod<'a>, rendering: &Rendering) -> Result<Vec<Container<'a>>, Denial> {
    let Some(names) = &rendering.content.containers else { return Ok(pod.containers().collect()) };
    let others = || pod.containers().chain(pod.init_containers()).filter(|container| container.name() != SIDECAR);
    let find = |name: &String| others().find(|container| container.name() == name);
    let missing = |name: &String| Denial::NoSuchContainer {
        container: name.clone(),
        present: others().map(|container| container.name().to_owned()).collect(),
    };
    names.iter().map(|name| find(name).ok_or_else(|| missing(name))).collect()
}

/// Whether a container with the sidecar's name is a sidecar, of whatever version: anybody can use the name. The image
/// says nothing, since mirrors have names of their own.
pub(super) fn is_ours(container: &Container<'_>) -> bool {
    let serves = container.field("args").is_some_and(|args| *args == json!(["serve"]));
    serves && container.env().any(|variable| text(variable, "name") == variables::KEY)
}

/// Whether a volume is the ring's: its name, in memory.
pub(super) fn is_memory(volume: &Value) -> bool {
    let medium = volume.get("emptyDir").and_then(|dir| dir.get("medium")).and_then(Value::as_str);
    text(volume, "name") == VOLUME && medium == Some("Memory")
}

/// A volume with the ring's name is allowed only together with the sidecar.
pub(super) fn volume(pod: &Pod<'_>) -> Result<(), Denial> {
    let Some(volume) = pod.volumes().iter().find(|volume| text(volume, "name") == VOLUME) else { return Ok(()) };
    let limited = volume.get("emptyDir").is_some_and(|dir| dir.get("sizeLimit").is_some());
    if pod.annotation(INJECTED_ANNOTATION).is_some() || (is_memory(volume) && limited) {
        return Err(Denial::Remains { part: "volume" });
    }
    Err(Denial::VolumeTaken { volume: VOLUME.to_owned() })
}

/// Containers of a pod share its network, so every port except the sidecar's own counts. Ports of init containers count
/// too: the sidecar runs at the same time.
pub(super) fn ports(pod: &Pod<'_>, rendering: &Rendering) -> Result<(), Denial> {
    let host = pod.flag("hostNetwork");
    for container in pod.containers().chain(pod.init_containers()).filter(|container| container.name() != SIDECAR) {
        let name = || container.name().to_owned();
        for port in container.ports() {
            if port.name == PORT || port.name == ADMIN_PORT {
                return Err(Denial::PortNameTaken { container: name(), name: port.name.to_owned() });
            }
            for ours in rendering.ports() {
                let number = ours.container_port.unsigned_abs();
                let taken = |theirs: u64| theirs == u64::from(number);
                if taken(port.container) || (host && taken(port.host)) {
                    let admin = ours.name.as_deref() == Some(ADMIN_PORT);
                    let setting = if admin { "spec.sidecar.adminPort" } else { "spec.sidecar.port" };
                    return Err(Denial::PortTaken { container: name(), port: number as u16, setting });
                }
            }
        }
    }
    Ok(())
}

/// The ring's mount must neither share nor hide a volume of the user.
pub(super) fn mounts(chosen: &[Container<'_>], rendering: &Rendering) -> Result<(), Denial> {
    let path = rendering.content.volume_mount.mount_path.as_str();
    for container in chosen {
        if let Some(mount) = container.mounts().find(|mount| mount.path == path && mount.volume != VOLUME) {
            return Err(Denial::Mounted {
                container: container.name().to_owned(),
                volume: mount.volume.to_owned(),
                path: path.to_owned(),
            });
        }
    }
    Ok(())
}
