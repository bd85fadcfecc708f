//! [`Denial`]: why a pod cannot have the ring, and what to do about it.

use framebuffer_contract::kubernetes::{INJECT_LABEL, INJECTED_ANNOTATION, SIDECAR, VOLUME};
use thiserror::Error;

use crate::validate::Invalid;

/// Why a pod cannot have the ring. Users see the messages when they apply the pod, or in the events of its owner.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// A label without a name.
    #[error("the label {INJECT_LABEL} is empty: set it to the name of a FrameBuffer of this namespace, or remove it")]
    EmptyLabel,
    /// No such `FrameBuffer`.
    #[error(
        "FrameBuffer `{name}` does not exist in namespace `{namespace}`: create it, or correct the label \
         {INJECT_LABEL} (`kubectl get framebuffers -n {namespace}` lists those that exist)"
    )]
    Unknown {
        /// The name in the label.
        name: String,
        /// The pod's namespace.
        namespace: String,
    },
    /// A `FrameBuffer` that breaks a rule.
    #[error("FrameBuffer `{name}` is invalid: {invalid}")]
    Invalid {
        /// Its name.
        name: String,
        /// The rule.
        invalid: Invalid,
    },
    /// Not a pod.
    #[error("{path} is not {expected}: this is not a pod")]
    Malformed {
        /// The path in the pod.
        path: String,
        /// The expected type.
        expected: &'static str,
    },
    /// Native sidecars and memory volumes work on Linux.
    #[error("the pod is for Windows nodes, which have no shared memory of this kind: remove the label {INJECT_LABEL}")]
    Windows,
    /// The `FrameBuffer` names a container that is not there.
    #[error(
        "spec.containers of the FrameBuffer names `{container}`, but the pod has only {}: correct the list, or \
         leave it out to choose all containers",
        quoted(present)
    )]
    NoSuchContainer {
        /// The name.
        container: String,
        /// The pod's containers.
        present: Vec<String>,
    },
    /// The sidecar's name is in use.
    #[error("the pod has a container of its own named `{container}`, which is the sidecar's name: rename it")]
    ContainerTaken {
        /// The name.
        container: String,
    },
    /// The volume's name is in use.
    #[error("the pod has a volume of its own named `{volume}`, which is the ring's volume: rename it")]
    VolumeTaken {
        /// The name.
        volume: String,
    },
    /// A part of an earlier injection is there, and the rest is missing.
    #[error(
        "the pod has the {part} of an earlier injection, but not all that belongs to it: remove the container \
         `{SIDECAR}`, the volume `{VOLUME}`, its mounts and the annotation {INJECTED_ANNOTATION}, and it is injected \
         anew"
    )]
    Remains {
        /// What is there.
        part: &'static str,
    },
    /// The path is in use.
    #[error(
        "container `{container}` already has volume `{volume}` at {path}: set spec.mountPath of the FrameBuffer to \
         another folder{} (clients find it by FRAMEBUFFER_DIR), or remove that mount",
        example(path)
    )]
    Mounted {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
        /// The path.
        path: String,
    },
    /// The port is in use.
    #[error(
        "container `{container}` has port {port}, as the sidecar would: set {setting} of the FrameBuffer to a free port"
    )]
    PortTaken {
        /// The container.
        container: String,
        /// The port.
        port: u16,
        /// The field to change.
        setting: &'static str,
    },
    /// The port's name is in use.
    #[error("container `{container}` has a port named `{name}`, as the sidecar has: rename it")]
    PortNameTaken {
        /// The container.
        container: String,
        /// Its name.
        name: String,
    },
}

fn example(taken: &str) -> &'static str {
    if taken == "/run/framebuffer" { "" } else { ", for example /run/framebuffer" }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
