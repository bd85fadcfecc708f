//! What triggers reconciliations: a `FrameBuffer` that changed, one whose pods changed, and for all of them a change of
//! the injector's readiness.

use std::collections::HashSet;
use std::time::Duration;

use framebuffer_contract::kubernetes::INJECT_LABEL;
use futures::channel::mpsc::UnboundedSender;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates};
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::context::Context;
use super::pods::{WatchedPod, resource};
use crate::api::FrameBuffer;
use crate::client::watching;
use crate::injector::Readiness;

/// How long changes of pods are gathered: a rollout of a thousand pods then causes only a few writes of the status.
const GATHER: Duration = Duration::from_millis(500);

type Requests = UnboundedSender<ObjectRef<FrameBuffer>>;

/// Requests every `FrameBuffer` whose spec changed. Our own writes of its status must not count: while its pods change,
/// each would trigger the next and bypass [`GATHER`].
pub(super) async fn framebuffers(api: Api<FrameBuffer>, writer: Writer<FrameBuffer>, requests: Requests) {
    let changed = watcher(api, watching())
        .default_backoff()
        .modify(|framebuffer| framebuffer.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    changed
        .for_each(|framebuffer| {
            match framebuffer {
                Ok(framebuffer) => request(&requests, ObjectRef::from_obj(&framebuffer)),
                Err(error) => report(&error),
            }
            std::future::ready(())
        })
        .await;
}

/// Requests every `FrameBuffer` whose pods changed. Sets `listed` once the pods are known for the first time.
pub(super) async fn pods(context: &Context, requests: Requests, listed: watch::Sender<bool>) {
    let api: Api<WatchedPod> = Api::all_with(context.client.clone(), &resource());
    let config = watching().labels(INJECT_LABEL);
    let events = watcher(api, config).default_backoff().inspect_err(report);
    let mut events = std::pin::pin!(events.filter_map(|event| std::future::ready(event.ok())));
    let mut touched: HashSet<ObjectRef<FrameBuffer>> = HashSet::new();
    let mut due: Option<Instant> = None;
    loop {
        let flush = async { if let Some(due) = due { sleep_until(due).await } else { std::future::pending().await } };
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { return };
                let done = matches!(event, Event::InitDone);
                touched.extend(apply(context, event));
                if done {
                    listed.send_replace(true);
                }
                if !touched.is_empty() {
                    due.get_or_insert_with(|| Instant::now() + GATHER);
                }
            }
            () = flush => {
                due = None;
                for framebuffer in touched.drain() {
                    request(&requests, framebuffer);
                }
            }
        }
    }
}

fn apply(context: &Context, event: Event<WatchedPod>) -> Vec<ObjectRef<FrameBuffer>> {
    let mut pods = context.pods.lock().expect("nobody panics with this lock");
    let touched = pods.apply(event);
    context.metrics.pods.set(i64::try_from(pods.len()).unwrap_or(i64::MAX));
    touched
}

/// Requests all `FrameBuffer`s whenever the injector's readiness changes.
pub(super) async fn readiness(
    mut readiness: watch::Receiver<Option<Readiness>>,
    store: Store<FrameBuffer>,
    requests: Requests,
) {
    while readiness.changed().await.is_ok() {
        for framebuffer in store.state() {
            request(&requests, ObjectRef::from_obj(framebuffer.as_ref()));
        }
    }
    // The sender lives as long as the leader works; this must not end the rest.
    std::future::pending::<()>().await;
}

fn request(requests: &Requests, framebuffer: ObjectRef<FrameBuffer>) {
    // It fails only when the controller is being dropped.
    let _ = requests.unbounded_send(framebuffer);
}

fn report(error: &watcher::Error) {
    warn!(error = error as &dyn std::error::Error, "failed to watch");
}
