//! [`if_changed`]: writes a status, and sends an event when `Ready` changes.

use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::info;

use crate::MANAGER;
use crate::api::status::READY;
use crate::api::{FrameBuffer, FrameBufferStatus};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::events::send_event;

/// Writes the status unless the `FrameBuffer` has it already.
pub(in crate::controller) async fn if_changed(
    framebuffer: &FrameBuffer,
    status: &FrameBufferStatus,
    context: &Context,
) -> Result<(), Error> {
    if framebuffer.status.as_ref() != Some(status) {
        write(framebuffer, status, context).await?;
        announce(framebuffer, status, context).await;
    }
    Ok(())
}

async fn write(framebuffer: &FrameBuffer, status: &FrameBufferStatus, context: &Context) -> Result<(), Error> {
    let name = framebuffer.name_any();
    let namespace = framebuffer.namespace().unwrap_or_default();
    let api: Api<FrameBuffer> = Api::namespaced(context.client.clone(), &namespace);
    let apply = json!({
        "apiVersion": FrameBuffer::api_version(&()),
        "kind": FrameBuffer::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(apply)).await {
        Ok(_) => {
            context.metrics.status_writes.inc();
            Ok(())
        }
        // Deleted in the meantime.
        Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
        Err(error) => Err(Error::Status(error)),
    }
}

/// Sends an event when the status or the reason of `Ready` changes.
async fn announce(framebuffer: &FrameBuffer, status: &FrameBufferStatus, context: &Context) {
    let find = |status: &FrameBufferStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == READY);
        ready.map(|ready| (ready.status.clone(), ready.reason.clone(), ready.message.clone()))
    };
    let before = framebuffer.status.as_ref().and_then(find);
    let Some((ready, reason, message)) = find(status) else { return };
    if before.is_some_and(|(before, because, _)| (before, because) == (ready.clone(), reason.clone())) {
        return;
    }
    let type_ = if ready == "True" { EventType::Normal } else { EventType::Warning };
    let (namespace, name) = (framebuffer.namespace(), framebuffer.name_any());
    info!(namespace, name, reason, "the readiness of a FrameBuffer changed");
    let object = framebuffer.object_ref(&());
    send_event(&context.recorder, &object, type_, &reason, "Reconcile", message).await;
}
