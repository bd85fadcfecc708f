//! Tests of what triggers reconciliations, with the events of a watch.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use jiff::Timestamp;
use kube::runtime::reflector;
use serde_json::json;

use super::*;
use crate::controller::reconcile::reconcile_at;
use crate::render::Settings;
use crate::testing::{FakeApi, framebuffer};

struct World {
    api: FakeApi,
    context: Arc<Context>,
    events: UnboundedSender<watcher::Result<Event<Watched>>>,
    requested: UnboundedReceiver<ObjectRef<Watched>>,
    store: Store<Watched>,
}

impl World {
    fn new() -> Self {
        let api = FakeApi::default();
        // It accepts every patch of a status, and every event.
        let client = api.client(|(method, _, body)| match method.as_str() {
            "PATCH" => Some(serde_json::to_value(framebuffer(json!({"size": "1Mi"}))).unwrap()),
            _ => Some(body.clone()),
        });
        let settings = Settings { sidecar_image: "sidecar:1".to_owned(), ..Settings::default() };
        let (_sender, readiness) = watch::channel(Some(Readiness::Ready));
        let context = Arc::new(Context::new(client, settings, "me", readiness, Arc::default()));
        let (events, received) = unbounded();
        let (requests, requested) = unbounded();
        let (store, writer) = reflector::store();
        let queue = Arc::clone(&context);
        tokio::spawn(async move { framebuffers(received, writer, &queue, requests).await });
        Self { api, context, events, requested, store }
    }

    fn send(&self, event: Event<Watched>) {
        self.events.unbounded_send(Ok(event)).unwrap();
    }

    /// What is requested within a second.
    async fn requested(&mut self) -> usize {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut requested = 0;
        while let Some(Some(_)) = self.requested.next().now_or_never() {
            requested += 1;
        }
        requested
    }

    async fn reconcile(&self) {
        let watched = self.store.state().pop().unwrap();
        reconcile_at(&watched, &self.context, Timestamp::now()).await.unwrap();
    }

    /// The object with the status that was written last, and another resource version.
    fn object(&self, version: &str) -> FrameBuffer {
        let mut object = framebuffer(json!({"size": "1Mi"}));
        object.metadata.resource_version = Some(version.to_owned());
        let asked = self.api.asked();
        let written = asked.iter().rev().find(|(method, _, _)| method == "PATCH");
        object.status = written.map(|(_, _, body)| serde_json::from_value(body[1]["value"].clone()).unwrap());
        object
    }
}

fn applied(object: FrameBuffer) -> Event<Watched> {
    Event::Apply(object.into())
}

#[tokio::test(start_paused = true)]
async fn a_write_of_the_operator_triggers_nothing_and_one_of_somebody_else_does() {
    let mut world = World::new();
    world.send(Event::Init);
    world.send(Event::InitDone);
    world.send(applied(world.object("1")));
    assert_eq!(world.requested().await, 1, "a new one");
    world.reconcile().await;
    world.send(applied(world.object("2")));
    assert_eq!(world.requested().await, 0, "its own write");
    let mut edited = world.object("3");
    edited.status.as_mut().unwrap().injection.as_mut().unwrap().sidecar["image"] = json!("other:1");
    world.send(applied(edited));
    assert_eq!(world.requested().await, 1, "a write of somebody else");
    world.reconcile().await;
    world.send(applied(world.object("4")));
    assert_eq!(world.requested().await, 0, "the repair");
    let mut changed = world.object("5");
    changed.metadata.generation = Some(2);
    world.send(applied(changed));
    assert_eq!(world.requested().await, 1, "a new spec");
}

#[tokio::test(start_paused = true)]
async fn many_changes_of_a_status_are_gathered() {
    let mut world = World::new();
    world.send(Event::Init);
    world.send(Event::InitDone);
    world.send(applied(world.object("1")));
    assert_eq!(world.requested().await, 1);
    world.reconcile().await;
    for version in 2..100 {
        let mut edited = world.object(&version.to_string());
        edited.status = None;
        world.send(applied(edited));
    }
    assert_eq!(world.requested().await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_changed_while_the_watch_was_broken_is_requested_once_the_store_has_it() {
    let mut world = World::new();
    world.send(Event::Init);
    world.send(Event::InitApply(world.object("1").into()));
    assert_eq!(world.requested().await, 0, "the store does not have it yet");
    world.send(Event::InitDone);
    assert_eq!(world.requested().await, 1);
    assert_eq!(world.store.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_framebuffer_that_is_gone() {
    for relisted in [false, true] {
        let mut world = World::new();
        world.send(Event::Init);
        world.send(Event::InitDone);
        world.send(applied(world.object("1")));
        world.requested().await;
        world.reconcile().await;
        let watched = Watched::from(world.object("2"));
        assert!(world.context.written.lock().unwrap().is_for(&watched));
        world.context.restarted.lock().unwrap().of(&watched.key(), "h");
        if relisted {
            world.send(Event::Init);
            world.send(Event::InitDone);
        } else {
            world.send(Event::Delete(watched.clone()));
        }
        world.requested().await;
        assert!(!world.context.written.lock().unwrap().is_for(&watched));
        assert!(world.context.restarted.lock().unwrap().is_empty());
    }
}
