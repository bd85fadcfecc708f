//! What triggers reconciliations: a `FrameBuffer` whose spec or status changed, one whose pods changed, and for all of
//! them a change of the injector's readiness.

use std::collections::HashSet;
use std::time::Duration;

use framebuffer_contract::kubernetes::INJECT_LABEL;
use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::context::Context;
use super::pods::{WatchedPod, resource};
use super::watched::Watched;
use crate::api::FrameBuffer;
use crate::client::watching;
use crate::injector::Readiness;

/// How long changes of pods and statuses are gathered: a rollout of a thousand pods then causes only a few writes of
/// the status.
const GATHER: Duration = Duration::from_millis(500);

pub(super) type Requests = UnboundedSender<ObjectRef<Watched>>;

/// Events of all `FrameBuffer`s.
pub(super) fn watch_framebuffers(client: &Client) -> impl Stream<Item = watcher::Result<Event<Watched>>> + use<> {
    watcher(Api::all(client.clone()), watching()).default_backoff()
}

/// Requests every `FrameBuffer` whose spec or status differs from what was last written: at once for a new spec, a
/// moment later for a status. The operator's own writes request nothing. Forgets those that are gone.
pub(super) async fn framebuffers(
    events: impl Stream<Item = watcher::Result<Event<Watched>>>,
    writer: Writer<Watched>,
    context: &Context,
    requests: Requests,
) {
    let store = writer.as_reader();
    let events = events.reflect(writer).inspect_err(report);
    let mut events = std::pin::pin!(events.filter_map(|event| std::future::ready(event.ok())));
    let mut gathered = Gathered::default();
    let mut listed = Vec::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                None => return,
                Some(Event::Apply(watched)) => sort(&watched, context, &requests, &mut gathered),
                Some(Event::Delete(watched)) => context.forget(|key| *key == watched.key()),
                Some(Event::Init) => listed.clear(),
                // The store has it at the end of the list only.
                Some(Event::InitApply(watched)) => listed.push(watched.key()),
                Some(Event::InitDone) => {
                    let known: HashSet<ObjectRef<FrameBuffer>> = listed.drain(..).collect();
                    context.forget(|key| !known.contains(key));
                    for watched in store.state() {
                        sort(&watched, context, &requests, &mut gathered);
                    }
                }
            },
            () = gathered.due() => gathered.request(&requests),
        }
    }
}

/// Requests what differs from what was last written.
fn sort(watched: &Watched, context: &Context, requests: &Requests, gathered: &mut Gathered) {
    let written = context.written.lock().expect("nobody panics with this lock");
    if written.is_shown_by(watched) {
        return;
    }
    if written.is_for(watched) {
        gathered.add([watched.key()]);
    } else {
        request(requests, watched.key());
    }
}

/// Requests every `FrameBuffer` whose pods changed. Sets `listed` once the pods are known for the first time.
pub(super) async fn pods(context: &Context, requests: Requests, listed: watch::Sender<bool>) {
    let api: Api<WatchedPod> = Api::all_with(context.client.clone(), &resource());
    let config = watching().labels(INJECT_LABEL);
    let events = watcher(api, config).default_backoff().inspect_err(report);
    let mut events = std::pin::pin!(events.filter_map(|event| std::future::ready(event.ok())));
    let mut gathered = Gathered::default();
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { return };
                let done = matches!(event, Event::InitDone);
                gathered.add(apply(context, event));
                if done {
                    listed.send_replace(true);
                }
            }
            () = gathered.due() => gathered.request(&requests),
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
    store: Store<Watched>,
    requests: Requests,
) {
    while readiness.changed().await.is_ok() {
        for watched in store.state() {
            request(&requests, watched.key());
        }
    }
    // The sender lives as long as the leader works; this must not end the rest.
    std::future::pending::<()>().await;
}

/// What is requested once [`GATHER`] is over.
#[derive(Default)]
struct Gathered {
    touched: HashSet<ObjectRef<FrameBuffer>>,
    due: Option<Instant>,
}

impl Gathered {
    fn add(&mut self, touched: impl IntoIterator<Item = ObjectRef<FrameBuffer>>) {
        self.touched.extend(touched);
        if !self.touched.is_empty() {
            self.due.get_or_insert_with(|| Instant::now() + GATHER);
        }
    }

    /// Never ends while there is nothing to request.
    async fn due(&self) {
        if let Some(due) = self.due { sleep_until(due).await } else { std::future::pending().await }
    }

    fn request(&mut self, requests: &Requests) {
        self.due = None;
        for framebuffer in self.touched.drain() {
            request(requests, framebuffer);
        }
    }
}

fn request(requests: &Requests, framebuffer: ObjectRef<FrameBuffer>) {
    // It fails only when the controller is being dropped.
    let _ = requests.unbounded_send(framebuffer.into_kind_unchecked(()));
}

fn report(error: &watcher::Error) {
    warn!(error = error as &dyn std::error::Error, "failed to watch");
}

#[cfg(test)]
mod tests;
