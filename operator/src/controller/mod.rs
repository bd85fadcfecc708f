//! The controller, in the leader only: dereference -> validate -> build -> apply -> status.
//!
//! - [`pods`]: which pods carry the label, and what of them is counted. Fed by one watch, kept in memory.
//! - [`queue`]: what has to be reconciled when.
//! - [`reconcile`]: the pipeline, for one `FrameBuffer`.
//! - [`status`]: what is reported. Pure.
//! - [`restart`]: owners of outdated pods, restarted at most once for each change.

pub mod pods;
mod queue;
mod reconcile;
mod restart;
mod status;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc;
use futures::{FutureExt as _, StreamExt as _};
use kube::runtime::controller::{Action, Config, Error as AppliedError};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{applier, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::MANAGER;
use crate::api::FrameBuffer;
use crate::carrier::Readiness;
use crate::metrics::Metrics;
use crate::render::Settings;
use pods::PodIndex;
use restart::Restarted;

/// Reconciliations at a time.
const CONCURRENCY: u16 = 4;

/// After a reconciliation that failed.
const RETRY: Duration = Duration::from_secs(10);

/// What every reconciliation needs.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) pods: Mutex<PodIndex>,
    /// `None` until it is known for the first time.
    pub(crate) readiness: watch::Receiver<Option<Readiness>>,
    pub(crate) recorder: Recorder,
    pub(crate) restarted: Mutex<Restarted>,
    /// Whether the operator may restart anything.
    pub(crate) may_restart: bool,
    pub(crate) metrics: Arc<Metrics>,
}

impl Context {
    /// With nothing counted yet. It may restart owners.
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        identity: &str,
        readiness: watch::Receiver<Option<Readiness>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            pods: Mutex::default(),
            readiness,
            restarted: Mutex::default(),
            may_restart: true,
            metrics,
        }
    }
}

/// Runs until it is dropped.
pub(crate) async fn run(context: Context) {
    let context = Arc::new(context);
    let framebuffers: Api<FrameBuffer> = Api::all(context.client.clone());
    let (store, writer) = reflector::store();
    let (sender, requests) = mpsc::unbounded::<ObjectRef<FrameBuffer>>();
    let (listed, mut first_list) = watch::channel(false);
    // Nothing is reported before the pods and the carrier's readiness are known: a new leader would report zeros.
    let mut readiness = context.readiness.clone();
    let known = async move {
        let _ = first_list.wait_for(|listed| *listed).await;
        let _ = readiness.wait_for(Option::is_some).await;
    };
    let requests = known.map(move |()| requests).flatten_stream().map(Ok::<_, watcher::Error>);
    let config = Config::default().concurrency(CONCURRENCY);
    let reconcile = |framebuffer, context| Box::pin(reconcile::reconcile(framebuffer, context));
    let reconciled = applier(reconcile, failed, Arc::clone(&context), store.clone(), requests, config).for_each(report);
    tokio::join!(
        reconciled,
        queue::framebuffers(framebuffers, writer, sender.clone()),
        queue::pods(&context, sender.clone(), listed),
        queue::readiness(context.readiness.clone(), store, sender),
    );
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn failed(framebuffer: Arc<FrameBuffer>, error: &reconcile::Error, context: Arc<Context>) -> Action {
    let metadata = &framebuffer.metadata;
    let error = error as &dyn std::error::Error;
    warn!(namespace = metadata.namespace, name = metadata.name, error, "failed to reconcile a FrameBuffer");
    context.metrics.reconcile_errors.inc();
    Action::requeue(RETRY)
}

type Applied = Result<(ObjectRef<FrameBuffer>, Action), AppliedError<reconcile::Error, watcher::Error>>;

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
mod tests;
