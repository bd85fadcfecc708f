//! [`reconcile`]: the five steps for one `FrameBuffer`, in their order. It writes only what has changed, so that its
//! own writes do not trigger it again.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::error::Error;
use super::restart::restart_outdated;
use super::status::{Found, build, write};
use super::watched::Watched;
use crate::api::{FrameBuffer, UpdateKind};
use crate::render::render;
use crate::validate::validate;

/// Every `FrameBuffer` is reconciled at least once in this time and half of it again, whatever was missed.
const RESYNC: Duration = Duration::from_mins(10);

/// Brings the status of one `FrameBuffer` and the owners of its pods up to date.
pub(super) async fn reconcile(watched: Arc<Watched>, context: Arc<Context>) -> Result<Action, Error> {
    context.metrics.reconciliations.inc();
    let next = reconcile_at(&watched, &context, Timestamp::now()).await?;
    let resync = resync(&watched.key());
    Ok(Action::requeue(next.map_or(resync, |next| next.min(resync))))
}

/// The same for the time `now`. Returns when to reconcile again, if nothing changes until then.
pub(super) async fn reconcile_at(
    watched: &Watched,
    context: &Context,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let Watched { framebuffer, .. } = watched;
    let key = watched.key();
    let dated = context.written.lock().expect("nobody panics with this lock").dated(watched, now);
    // Dereference. The readiness is known: nothing is reconciled before it is.
    let not_ready = context.readiness.borrow().as_ref().and_then(|readiness| readiness.not_ready(&key.name));
    // Validate.
    let valid = validate(framebuffer);
    let update = valid.as_ref().map_or(UpdateKind::OnDelete, |spec| spec.update);
    // Build. The hash decides which pods are outdated.
    let rendering = valid.map(|spec| render(&spec, &context.settings));
    let hash = rendering.as_ref().ok().map(|rendering| rendering.hash.as_str());
    let pods = context.pods.lock().expect("nobody panics with this lock").count(&key, hash);
    // Apply.
    let rendered = rendering.as_ref().ok().map(|rendering| (rendering, dated.rendered_at(&rendering.hash)));
    let (restarts, next) = restart_outdated(framebuffer, rendered, update, pods, context, now).await;
    // Status.
    let found = Found { rendering: rendering.as_ref(), update, pods, not_ready, restarts: &restarts };
    let status = build(framebuffer.metadata.generation, &found, &dated, now);
    let wait = write::if_changed(watched, &dated, &status, context, now).await?;
    Ok([next, wait].into_iter().flatten().min())
}

/// Not the same for all `FrameBuffer`s: a leader has reconciled them all at once when it started.
fn resync(key: &ObjectRef<FrameBuffer>) -> Duration {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    RESYNC + RESYNC * (hasher.finish() % 512) as u32 / 1024
}
