//! [`reconcile`]: the five steps for one `FrameBuffer`, in their order. It writes only what has changed, so that its
//! own writes do not trigger it again.

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::error::Error;
use super::restart::restart_outdated;
use super::status::{Found, build, write};
use crate::api::{FrameBuffer, UpdateKind};
use crate::render::render;
use crate::validate::validate;

/// Brings the status of one `FrameBuffer` and the owners of its pods up to date.
pub(super) async fn reconcile(framebuffer: Arc<FrameBuffer>, context: Arc<Context>) -> Result<Action, Error> {
    context.metrics.reconciliations.inc();
    let now = Timestamp::now();
    let key = ObjectRef::from_obj(framebuffer.as_ref());
    // Dereference. The readiness is known: nothing is reconciled before it is.
    let not_ready = context.readiness.borrow().as_ref().and_then(|readiness| readiness.not_ready(&key.name));
    // Validate.
    let valid = validate(&framebuffer);
    let update = valid.as_ref().map_or(UpdateKind::OnDelete, |spec| spec.update);
    // Build. The hash decides which pods are outdated.
    let rendering = valid.map(|spec| render(&spec, &context.settings));
    let hash = rendering.as_ref().ok().map(|rendering| rendering.hash.as_str());
    let pods = context.pods.lock().expect("nobody panics with this lock").count(&key, hash);
    // Apply.
    let (restarts, next) = restart_outdated(&framebuffer, rendering.as_ref().ok(), update, pods, &context, now).await;
    // Status.
    let found = Found { rendering: rendering.as_ref(), update, pods, not_ready, restarts: &restarts };
    let status = build(&framebuffer, &found, now);
    write::if_changed(&framebuffer, &status, &context).await?;
    Ok(next)
}
