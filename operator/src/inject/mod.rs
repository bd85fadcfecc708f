//! [`inject`]: computes the JSON patch that injects a rendering into a pod. Read [`pod`] (the fields that matter),
//! [`check`] (denials), [`patch`] (additions), [`warnings`] ([`architecture`] has one of them).
//!
//! # Guarantees
//!
//! - The patch only adds. Unknown fields stay as they are, since the pod is never decoded.
//! - The patch for an injected pod is empty, except that containers added since get what they lack.
//! - A pod with an earlier injection, or one made by hand, is left alone. A name alone makes no injection: the sidecar
//!   has the arguments and the key of ours, and the volume is in memory.

mod architecture;
mod check;
mod denial;
mod patch;
mod pod;
pub mod template;
mod warnings;

use framebuffer_contract::kubernetes::{INJECT_LABEL, INJECTED_ANNOTATION, SIDECAR, VOLUME};
use serde_json::Value;

use crate::render::Rendering;

pub use denial::Denial;
pub use patch::{Operation, apply};
use pod::Pod;

/// The changes to a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Injection {
    /// Operations, in order; none if the pod has everything.
    pub patch: Vec<Operation>,
    /// Effects that work but may surprise.
    pub warnings: Vec<String>,
}

/// The name of the `FrameBuffer` that a pod asks for; `None` for a pod without the label.
pub fn wanted(pod: &Value) -> Option<&str> {
    pod.get("metadata")?.get("labels")?.get(INJECT_LABEL)?.as_str()
}

/// Computes the additions to a pod.
///
/// # Errors
///
/// The pod cannot have the ring; the message says what to do.
pub fn inject(pod: &Value, rendering: &Rendering) -> Result<Injection, Denial> {
    let pod = Pod::read(pod)?;
    if pod.is_mirror() {
        return Ok(Injection { patch: Vec::new(), warnings: vec![warnings::MIRROR.to_owned()] });
    }
    check::not_windows(&pod)?;
    let injected = match before(&pod, rendering)? {
        Before::Nothing => false,
        Before::This => true,
        Before::Other => return Ok(Injection { patch: Vec::new(), warnings: vec![warnings::other(&pod, rendering)] }),
    };
    let chosen = check::chosen(&pod, rendering)?;
    if !injected {
        check::volume(&pod)?;
    }
    check::ports(&pod, rendering)?;
    check::mounts(&chosen, rendering)?;
    Ok(Injection {
        patch: patch::build(&pod, &chosen, injected, rendering),
        warnings: warnings::collect(&pod, &chosen, rendering),
    })
}

/// The trace of an earlier injection in the pod.
enum Before {
    Nothing,
    /// The sidecar of this very rendering.
    This,
    /// A sidecar of another rendering.
    Other,
}

fn before(pod: &Pod<'_>, rendering: &Rendering) -> Result<Before, Denial> {
    let taken = || Denial::ContainerTaken { container: SIDECAR.to_owned() };
    if pod.containers().any(|container| container.name() == SIDECAR) {
        return Err(taken());
    }
    let Some(sidecar) = pod.init_containers().find(|container| container.name() == SIDECAR) else {
        return Ok(Before::Nothing);
    };
    let native = sidecar.field("restartPolicy").and_then(Value::as_str) == Some("Always");
    if !check::is_ours(&sidecar) {
        return Err(taken());
    }
    let mounted = sidecar.mounts().any(|mount| mount.volume == VOLUME);
    if !native || !mounted || !pod.volumes().iter().any(check::is_memory) {
        return Err(Denial::Remains { part: "sidecar" });
    }
    // The hash decides: another webhook may have changed the sidecar since, say its image's registry.
    let this = match pod.annotation(INJECTED_ANNOTATION) {
        Some(hash) => hash == rendering.hash,
        None => patch::contains(sidecar.value(), &patch::value(&rendering.content.sidecar)),
    };
    Ok(if this { Before::This } else { Before::Other })
}
