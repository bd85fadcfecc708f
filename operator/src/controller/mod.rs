//! The controller, in the leader only. [`queue`] triggers [`reconcile`], which runs for one `FrameBuffer`:
//! dereference -> validate -> build -> apply -> status.
//!
//! 1. Dereference: [`pods`] keeps the labelled pods in memory, fed by one watch; [`Context::readiness`] is the
//!    injector's. [`watched`] is what is kept of a `FrameBuffer`.
//! 2. Validate: [`crate::validate::validate`] checks the spec.
//! 3. Build: [`crate::render::render`] renders the content of the injection. Pure.
//! 4. Apply: [`restart::restart_outdated`] restarts the owners of outdated pods, once for each change; [`replicas`]
//!    says when an upgrade of the operator is over, [`pace`] how many at a time, [`survey`] which roll already, and
//!    [`workload`] how far each is.
//! 5. Status: [`status::build`] builds the status (pure); [`status::write`] writes it and sends an event; [`written`]
//!    tells whether somebody else has changed it since.

mod context;
mod error;
mod pace;
pub mod pods;
mod queue;
mod reconcile;
mod replicas;
mod restart;
mod restarted;
mod status;
mod survey;
mod watched;
mod workload;
mod written;

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{FutureExt as _, StreamExt as _};
use kube::runtime::controller::{Action, Config, Error as AppliedError};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{applier, watcher};
use tokio::sync::watch;
use tracing::{debug, warn};

use error::Error;
use watched::Watched;

pub(crate) use context::Context;

/// The most reconciliations at a time.
const CONCURRENCY: u16 = 4;

/// Delay after a reconciliation that failed.
const RETRY: Duration = Duration::from_secs(10);

/// Runs the controller until the future is dropped.
pub(crate) async fn run(context: Context) {
    let context = Arc::new(context);
    let framebuffers = queue::watch_framebuffers(&context.client);
    let (store, writer) = reflector::store();
    let (sender, requests) = mpsc::unbounded::<ObjectRef<Watched>>();
    let (listed, mut first_list) = watch::channel(false);
    // Nothing is reconciled before the pods and the injector's readiness are known: a new leader would report zeros.
    let mut readiness = context.readiness.clone();
    let known = async move {
        let _ = first_list.wait_for(|listed| *listed).await;
        let _ = readiness.wait_for(Option::is_some).await;
    };
    let requests = known.map(move |()| requests).flatten_stream().map(Ok::<_, watcher::Error>);
    let config = Config::default().concurrency(CONCURRENCY);
    let reconcile = |watched, context| Box::pin(reconcile::reconcile(watched, context));
    let reconciled = applier(reconcile, failed, Arc::clone(&context), store.clone(), requests, config).for_each(report);
    tokio::join!(
        reconciled,
        queue::framebuffers(framebuffers, writer, &context, sender.clone()),
        queue::pods(&context, sender.clone(), listed),
        queue::readiness(context.readiness.clone(), store, sender),
    );
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn failed(watched: Arc<Watched>, error: &Error, context: Arc<Context>) -> Action {
    let metadata = &watched.framebuffer.metadata;
    let error = error as &dyn std::error::Error;
    warn!(namespace = metadata.namespace, name = metadata.name, error, "failed to reconcile a FrameBuffer");
    context.metrics.reconcile_errors.inc();
    Action::requeue(RETRY)
}

type Applied = Result<(ObjectRef<Watched>, Action), AppliedError<Error, watcher::Error>>;

async fn report(applied: Applied) {
    match applied {
        // Already reported where the policy for errors is.
        Ok(_) | Err(AppliedError::ReconcilerFailed(..)) => {}
        // Pods that name what does not exist.
        Err(AppliedError::ObjectNotFound(name)) => debug!(%name, "there is no such FrameBuffer"),
        Err(error) => warn!(error = &error as &dyn std::error::Error, "failed to schedule a reconciliation"),
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
