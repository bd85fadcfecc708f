//! [`reconcile`]: the pipeline for one `FrameBuffer`. It writes only what has changed, so that its own writes bring it to
//! rest.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use thiserror::Error;
use tracing::info;

use super::Context;
use super::restart::{self, Report, SETTLE};
use super::status::{Found, build, rendered_at};
use crate::api::status::READY;
use crate::api::{FrameBuffer, FrameBufferStatus, UpdateKind};
use crate::render::{Rendering, render};
use crate::validate::validate;
use crate::{MANAGER, brief};

/// Owners that could not be restarted are tried again after this.
const RETRY_RESTART: Duration = Duration::from_mins(1);

/// Why a `FrameBuffer` could not be reconciled.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The API server refused it, or could not be reached.
    #[error("failed to write the status")]
    Status(#[source] kube::Error),
    /// Nothing could be asked of an owner.
    #[error("failed to restart {owner}")]
    Restart {
        /// Kind and name.
        owner: String,
        /// Why.
        source: kube::Error,
    },
}

impl Error {
    /// In the words of [`brief`].
    pub(super) fn brief(self) -> anyhow::Error {
        let what = self.to_string();
        let (Self::Status(source) | Self::Restart { source, .. }) = self;
        brief(source).context(what)
    }
}

/// Brings one `FrameBuffer`'s status, and its pods' owners, up to date.
pub(super) async fn reconcile(framebuffer: Arc<FrameBuffer>, context: Arc<Context>) -> Result<Action, Error> {
    context.metrics.reconciliations.inc();
    let now = Timestamp::now();
    let key = ObjectRef::from_obj(framebuffer.as_ref());
    // Known: nothing is reconciled before it is.
    let trouble = context.readiness.borrow().as_ref().and_then(|readiness| readiness.trouble(&key.name));
    let valid = validate(&framebuffer);
    let update = valid.as_ref().map_or(UpdateKind::OnDelete, |spec| spec.update);
    let rendering = valid.map(|spec| render(&spec, &context.settings));
    let hash = rendering.as_ref().ok().map(|rendering| rendering.hash.as_str());
    let pods = context.pods.lock().expect("nobody panics with this lock").count(&key, hash);
    let (restarts, next) = match &rendering {
        Ok(_) if update == UpdateKind::RollingRestart && !context.may_restart => {
            (Report { off: true, ..Report::default() }, Action::await_change())
        }
        Ok(rendering) if update == UpdateKind::RollingRestart && pods.outdated > 0 => {
            restart_outdated(&framebuffer, &key, rendering, &context, now).await
        }
        _ => (Report::default(), Action::await_change()),
    };
    let found = Found { rendering: rendering.as_ref(), update, pods, trouble, restarts: &restarts };
    let status = build(&framebuffer, &found, now);
    if framebuffer.status.as_ref() != Some(&status) {
        write(&framebuffer, &status, &context).await?;
        announce(&framebuffer, &status, &context).await;
    }
    Ok(next)
}

/// Restarts owners once the change has settled: an edit may follow another, and every replica of the webhook must have
/// seen it.
async fn restart_outdated(
    framebuffer: &FrameBuffer,
    key: &ObjectRef<FrameBuffer>,
    rendering: &Rendering,
    context: &Context,
    now: Timestamp,
) -> (Report, Action) {
    let since = rendered_at(framebuffer, &rendering.hash);
    let settled = since.map(|since| since + SETTLE);
    let Some(settled) = settled.filter(|settled| now >= *settled) else {
        let wait = settled.map_or(SETTLE, |settled| settled.duration_since(now)).unsigned_abs();
        return (Report { settling: true, ..Report::default() }, Action::requeue(wait));
    };
    let owners = {
        let pods = context.pods.lock().expect("nobody panics with this lock");
        restart::owners(pods.of(key), &rendering.hash, settled)
    };
    let report = restart::restart(framebuffer, key, &rendering.hash, owners, context).await;
    let next = if report.failed.is_empty() { Action::await_change() } else { Action::requeue(RETRY_RESTART) };
    (report, next)
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

/// An event when `Ready` turns, for whoever describes the `FrameBuffer`.
async fn announce(framebuffer: &FrameBuffer, status: &FrameBufferStatus, context: &Context) {
    let find = |status: &FrameBufferStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == READY);
        ready.map(|ready| (ready.status.clone(), ready.reason.clone(), ready.message.clone()))
    };
    let before = framebuffer.status.as_ref().and_then(find);
    let Some((turned, reason, message)) = find(status) else { return };
    if before.is_some_and(|(before, because, _)| (before, because) == (turned.clone(), reason.clone())) {
        return;
    }
    let type_ = if turned == "True" { EventType::Normal } else { EventType::Warning };
    info!(
        namespace = framebuffer.namespace(),
        name = framebuffer.name_any(),
        reason,
        "a FrameBuffer's readiness turned"
    );
    publish(framebuffer, type_, &reason, "Reconcile", message, context).await;
}

/// Sends an event. One that is lost is only logged: the status says the same.
pub(super) async fn publish(
    framebuffer: &FrameBuffer,
    type_: EventType,
    reason: &str,
    action: &str,
    note: String,
    context: &Context,
) {
    let event =
        Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None };
    if let Err(error) = context.recorder.publish(&event, &framebuffer.object_ref(&())).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "failed to send an event");
    }
}
