//! [`if_changed`]: writes a status, and sends an event when `Ready` changes, or when somebody else has changed the
//! status.
//!
//! The status is replaced as a whole: server-side apply would leave fields and conditions that somebody else has added,
//! and the API server would inject them.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::runtime::events::EventType;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::MANAGER;
use crate::api::status::READY;
use crate::api::{FrameBuffer, FrameBufferStatus};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::watched::{Dated, Digest, Watched};
use crate::controller::written::Permit;
use crate::events::send_event;

/// Reason of `Ready` when the API server does not let the operator write what is injected.
const REFUSED: &str = "InjectionRefused";

/// Writes the status unless the `FrameBuffer` has it already. Returns when to try again, if a repair has to wait.
pub(in crate::controller) async fn if_changed(
    watched: &Watched,
    before: &Dated,
    status: &FrameBufferStatus,
    context: &Context,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let (digest, dated) = (Digest::of(status), Dated::of(status));
    let written = || context.written.lock().expect("nobody panics with this lock");
    if watched.shown.as_ref().is_some_and(|shown| shown.digest == digest) {
        written().found(watched, digest, dated);
        return Ok(None);
    }
    let permit = written().permit(watched, digest, now);
    match permit {
        Permit::Done => return Ok(None),
        Permit::Wait(delay) => return Ok(Some(delay)),
        Permit::Write | Permit::Repair => {}
    }
    if let Some(version) = replace(watched, status, context).await? {
        written().wrote(watched, digest, dated, version);
        announce(watched, before, status, context).await;
        if permit == Permit::Repair {
            let row = written().repaired(watched, now);
            report_repair(watched, row, context).await;
        }
    }
    Ok(None)
}

/// Replaces the status. Returns the object's resource version if it is there now: a `FrameBuffer` that was deleted in
/// the meantime needs none.
async fn replace(
    watched: &Watched,
    status: &FrameBufferStatus,
    context: &Context,
) -> Result<Option<Option<String>>, Error> {
    match patch(watched, &[json!({"op": "add", "path": "/status", "value": status})], context).await {
        Ok(written) => {
            context.metrics.status_writes.inc();
            Ok(Some(written.metadata.resource_version))
        }
        Err(kube::Error::Api(refused)) if is_gone(&refused) => Ok(None),
        Err(kube::Error::Api(refused)) if matches!(refused.code, 403 | 422) && status.injection.is_some() => {
            admit_refusal(watched, status, &refused.message, context).await;
            Err(Error::Status(kube::Error::Api(refused)))
        }
        Err(error) => Err(Error::Status(error)),
    }
}

/// Writes the conditions alone, with `Ready` false: what is injected is not what the spec asks for.
async fn admit_refusal(watched: &Watched, status: &FrameBufferStatus, refusal: &str, context: &Context) {
    let mut conditions = status.conditions.clone();
    for ready in conditions.iter_mut().filter(|condition| condition.type_ == READY) {
        let what = "the API server does not let the operator write what is injected, and pods get what was rendered \
                    before, if anything";
        (ready.status, ready.reason, ready.message) = ("False".into(), REFUSED.into(), format!("{what}: {refusal}"));
    }
    let operation = match watched.shown {
        Some(_) => json!({"op": "add", "path": "/status/conditions", "value": conditions}),
        None => json!({"op": "add", "path": "/status", "value": {"conditions": conditions}}),
    };
    if let Err(error) = patch(watched, &[operation], context).await {
        warn!(error = &error as &dyn std::error::Error, "failed to write that a status was refused");
    }
}

/// Patches the status of this very object: another of its name has another spec.
async fn patch(watched: &Watched, operations: &[Value], context: &Context) -> Result<FrameBuffer, kube::Error> {
    let Watched { framebuffer, .. } = watched;
    let api: Api<FrameBuffer> = Api::namespaced(context.client.clone(), &framebuffer.namespace().unwrap_or_default());
    let this = json!({"op": "test", "path": "/metadata/uid", "value": framebuffer.metadata.uid});
    let patch: Vec<Value> = std::iter::once(this).chain(operations.iter().cloned()).collect();
    let patch = serde_json::from_value(Value::Array(patch)).expect("these are operations of a JSON patch");
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_status(&framebuffer.name_any(), &params, &Patch::<Value>::Json(patch)).await
}

/// Whether the object was deleted, or another has its name now: the test of its UID failed.
fn is_gone(refused: &Status) -> bool {
    refused.code == 404 || (refused.code == 422 && refused.message.contains("/metadata/uid"))
}

/// Sends an event when the status or the reason of `Ready` changes.
async fn announce(watched: &Watched, before: &Dated, status: &FrameBufferStatus, context: &Context) {
    let Some(ready) = status.conditions.iter().find(|condition| condition.type_ == READY) else { return };
    if before.condition(READY).is_some_and(|before| (&before.status, &before.reason) == (&ready.status, &ready.reason))
    {
        return;
    }
    let type_ = if ready.status == "True" { EventType::Normal } else { EventType::Warning };
    let (namespace, name) = (watched.framebuffer.namespace(), watched.framebuffer.name_any());
    info!(namespace, name, reason = ready.reason, "the readiness of a FrameBuffer changed");
    send(watched, type_, &ready.reason, ready.message.clone(), context).await;
}

/// Reports that somebody else has changed the status, which was put back.
async fn report_repair(watched: &Watched, row: u32, context: &Context) {
    context.metrics.status_repairs.inc();
    let (namespace, name) = (watched.framebuffer.namespace(), watched.framebuffer.name_any());
    let writers = if watched.writers.is_empty() { "unknown".to_owned() } else { watched.writers.join(", ") };
    warn!(namespace, name, writers, row, "somebody else has changed the status of a FrameBuffer; it was put back");
    let note = format!(
        "somebody else (field manager: {writers}) has changed the status, and the operator has put it back. Only the \
         operator may write it: whoever keeps changing it must lose the right to framebuffers/status"
    );
    send(watched, EventType::Warning, "StatusRestored", note, context).await;
}

async fn send(watched: &Watched, type_: EventType, reason: &str, note: String, context: &Context) {
    let object = watched.framebuffer.object_ref(&());
    send_event(&context.recorder, &object, type_, reason, "Reconcile", note).await;
}

#[cfg(test)]
mod tests;
