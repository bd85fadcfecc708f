//! Tests of reconciliation against an API server of a few lines.

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::reconcile::reconcile;
use super::*;
use crate::api::FrameBufferStatus;
use crate::injector::Readiness;
use crate::render::Settings;
use crate::testing::{Asked, FakeApi, framebuffer};

const RING: &str = "/apis/framebuffer.dev/v1alpha1/namespaces/video/framebuffers/ring/status";
const WEB: &str = "/apis/apps/v1/namespaces/video/deployments/web";

struct Fixture {
    api: FakeApi,
    context: Arc<Context>,
    framebuffer: crate::api::FrameBuffer,
}

impl Fixture {
    fn new(strategy: &str, template: Value) -> Self {
        let api = FakeApi::default();
        let client = api.client(move |(method, uri, body)| answer(method, uri, body, &template));
        let settings = Settings { sidecar_image: "sidecar:1".to_owned(), ..Settings::default() };
        let (_sender, readiness) = watch::channel(Some(Readiness::Ready));
        let context = Context::new(client, settings, "me", readiness, Arc::default());
        let spec = json!({"size": "1Mi", "updateStrategy": {"type": strategy}});
        Self { api, context: Arc::new(context), framebuffer: framebuffer(spec) }
    }

    fn pod(&self, name: &str, owner: Option<(&str, &str)>) {
        let owners = owner.map(|(api_version, kind)| {
            json!([{"apiVersion": api_version, "kind": kind, "name": "web-1", "uid": "u", "controller": true}])
        });
        let pod = json!({
            "metadata": {
                "name": name,
                "namespace": "video",
                "labels": {"framebuffer.dev/inject": "ring"},
                "annotations": {"framebuffer.dev/injected": "old"},
                "ownerReferences": owners,
                "creationTimestamp": "2020-01-01T00:00:00Z",
            },
            "spec": {},
        });
        self.context.pods.lock().unwrap().apply(Event::Apply(serde_json::from_value(pod).unwrap()));
    }

    async fn reconcile(&self) -> Action {
        reconcile(Arc::new(self.framebuffer.clone()), Arc::clone(&self.context)).await.unwrap()
    }

    /// What the last status said, as the next reconciliation would find it; its change is long ago.
    async fn settle(&mut self) {
        self.reconcile().await;
        let (_, _, body) = self.written().pop().unwrap();
        let mut status: FrameBufferStatus = serde_json::from_value(body["status"].clone()).unwrap();
        status.injection.as_mut().unwrap().rendered_at.0 = Timestamp::now() - restart::SETTLE * 2;
        self.framebuffer.status = Some(status);
    }

    fn written(&self) -> Vec<Asked> {
        self.api.asked().into_iter().filter(|(method, uri, _)| method == "PATCH" && uri.starts_with(RING)).collect()
    }

    fn restarts(&self) -> Vec<Asked> {
        self.api.asked().into_iter().filter(|(method, uri, _)| method == "PATCH" && uri.contains("/apps/")).collect()
    }
}

fn answer(method: &str, uri: &str, body: &Value, template: &Value) -> Option<Value> {
    let path = uri.split('?').next().unwrap_or_default();
    let owned =
        |kind, name| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "d", "controller": true}]);
    match (method, path) {
        ("PATCH", RING) => {
            let mut object = serde_json::to_value(framebuffer(json!({"size": "1Mi"}))).unwrap();
            object["status"] = body["status"].clone();
            Some(object)
        }
        ("GET", "/apis/apps/v1/namespaces/video/replicasets/web-1") => Some(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "web-1", "ownerReferences": owned("Deployment", "web")},
        })),
        ("GET" | "PATCH", _) if path.starts_with("/apis/apps/v1/namespaces/video/") => Some(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web"}, "spec": {"template": {"metadata": template}},
        })),
        ("POST", _) if path.contains("/events") => Some(body.clone()),
        _ => None,
    }
}

fn labelled() -> Value {
    json!({"labels": {"framebuffer.dev/inject": "ring"}})
}

#[tokio::test]
async fn a_status_is_written_once_by_server_side_apply() {
    let mut fixture = Fixture::new("OnDelete", labelled());
    fixture.pod("a", None);
    fixture.reconcile().await;
    let written = fixture.written();
    let [(_, uri, body)] = &written[..] else { panic!("{written:?}") };
    assert!(uri.contains("fieldManager=framebuffer-operator") && uri.contains("force=true"), "{uri}");
    assert_eq!(body["status"]["pods"], json!({"matched": 1, "ready": 0, "outdated": 1}));
    fixture.framebuffer.status = Some(serde_json::from_value(body["status"].clone()).unwrap());
    assert_eq!(fixture.reconcile().await, Action::await_change());
    assert_eq!(fixture.written().len(), 1, "nothing has changed");
    assert_eq!(fixture.restarts(), []);
}

#[tokio::test]
async fn owners_are_restarted_only_after_the_change_has_settled() {
    let fixture = Fixture::new("RollingRestart", labelled());
    fixture.pod("a", Some(("apps/v1", "ReplicaSet")));
    assert_ne!(fixture.reconcile().await, Action::await_change());
    assert_eq!(fixture.restarts(), []);
    let conditions = &fixture.written()[0].2["status"]["conditions"];
    assert_eq!(conditions[1]["reason"], "Settling");
}

#[tokio::test]
async fn a_deployment_is_restarted_once_however_often_its_pods_change() {
    let mut fixture = Fixture::new("RollingRestart", labelled());
    for pod in ["a", "b", "c"] {
        fixture.pod(pod, Some(("apps/v1", "ReplicaSet")));
    }
    fixture.settle().await;
    for _ in 0..3 {
        fixture.reconcile().await;
    }
    let restarts = fixture.restarts();
    let [(_, uri, body)] = &restarts[..] else { panic!("{restarts:?}") };
    assert!(uri.starts_with(WEB), "{uri}");
    let hash = &fixture.framebuffer.status.as_ref().unwrap().injection.as_ref().unwrap().hash;
    let annotations = json!({"framebuffer.dev/restarted-for": hash});
    assert_eq!(*body, json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}));
    let asked = fixture.api.paths().iter().filter(|path| path.starts_with("GET")).count();
    assert_eq!(asked, 2, "the ReplicaSet and the Deployment, once each");
    assert!(fixture.api.asked().iter().any(|(_, _, body)| body["reason"] == "Restarted"), "an event says so");
}

#[tokio::test]
async fn a_new_leader_sees_in_the_template_that_it_was_restarted() {
    let mut probe = Fixture::new("RollingRestart", labelled());
    probe.settle().await;
    let hash = probe.framebuffer.status.as_ref().unwrap().injection.as_ref().unwrap().hash.clone();
    let mut template = labelled();
    template["annotations"] = json!({"framebuffer.dev/restarted-for": hash});
    let mut fixture = Fixture::new("RollingRestart", template);
    fixture.pod("a", Some(("apps/v1", "ReplicaSet")));
    fixture.settle().await;
    fixture.reconcile().await;
    assert_eq!(fixture.restarts(), []);
    let status = fixture.written().pop().unwrap().2;
    assert_eq!(status["status"]["conditions"][1]["reason"], "Restarted");
}

#[tokio::test]
async fn stateful_sets_and_daemon_sets_are_restarted_as_well() {
    for (kind, path) in [("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")] {
        let mut fixture = Fixture::new("RollingRestart", labelled());
        fixture.pod("a", Some(("apps/v1", kind)));
        fixture.settle().await;
        fixture.reconcile().await;
        let expected = format!("/apis/apps/v1/namespaces/video/{path}/web-1");
        assert!(fixture.restarts()[0].1.starts_with(&expected), "{kind}");
    }
}

#[tokio::test]
async fn owners_that_cannot_be_restarted_are_reported_once() {
    let cases = [
        (None, labelled(), "pods without an owner"),
        (Some(("argoproj.io/v1alpha1", "Rollout")), labelled(), "Rollout web-1"),
        (Some(("apps/v1", "DaemonSet")), json!({}), "DaemonSet web-1 (its template lacks the label)"),
    ];
    for (owner, template, name) in cases {
        let mut fixture = Fixture::new("RollingRestart", template);
        fixture.pod("a", owner);
        fixture.settle().await;
        fixture.reconcile().await;
        fixture.reconcile().await;
        assert_eq!(fixture.restarts(), []);
        let status = fixture.written().pop().unwrap().2;
        assert_eq!(status["status"]["conditions"][1]["reason"], "CannotRestart");
        let message = status["status"]["conditions"][1]["message"].as_str().unwrap();
        assert!(message.contains(&format!("cannot restart {name}")), "{message}");
        let events = fixture.api.asked().iter().filter(|(_, _, body)| body["reason"] == "CannotRestart").count();
        assert_eq!(events, 1, "{name}");
    }
}

#[tokio::test]
async fn an_operator_that_may_not_restart_asks_for_no_owner_and_says_so() {
    let mut fixture = Fixture::new("RollingRestart", labelled());
    Arc::get_mut(&mut fixture.context).unwrap().may_restart = false;
    fixture.pod("a", Some(("apps/v1", "ReplicaSet")));
    fixture.settle().await;
    assert_eq!(fixture.reconcile().await, Action::await_change());
    assert!(fixture.api.paths().iter().all(|path| !path.contains("/apps/")), "{:?}", fixture.api.paths());
    let status = fixture.written().pop().unwrap().2;
    assert_eq!(status["status"]["conditions"][1]["reason"], "RestartsOff");
}

#[tokio::test]
async fn a_restart_that_is_refused_is_reported_as_failed_and_tried_again() {
    let mut fixture = Fixture::new("RollingRestart", labelled());
    let refuses = |(_, uri, _): &Asked| uri.contains("/apps/").then(|| json!({"kind": "Status", "code": 403}));
    let client =
        fixture.api.client(move |asked| refuses(asked).or_else(|| answer(&asked.0, &asked.1, &asked.2, &json!({}))));
    Arc::get_mut(&mut fixture.context).unwrap().client = client;
    fixture.pod("a", Some(("apps/v1", "StatefulSet")));
    fixture.settle().await;
    assert_ne!(fixture.reconcile().await, Action::await_change());
    let status = fixture.written().pop().unwrap().2;
    let condition = &status["status"]["conditions"][1];
    assert_eq!(condition["reason"], "RestartFailed");
    assert!(condition["message"].as_str().unwrap().contains("failed to restart StatefulSet web-1"), "{condition}");
}

#[tokio::test]
async fn pods_created_after_a_change_are_not_restarted_for_it() {
    let mut fixture = Fixture::new("RollingRestart", labelled());
    fixture.pod("a", Some(("apps/v1", "ReplicaSet")));
    fixture.settle().await;
    fixture.framebuffer.status.as_mut().unwrap().injection.as_mut().unwrap().rendered_at.0 =
        "2019-01-01T00:00:00Z".parse().unwrap();
    fixture.reconcile().await;
    assert_eq!(fixture.restarts(), []);
}

#[tokio::test]
async fn readiness_is_announced_when_it_turns() {
    let fixture = Fixture::new("OnDelete", labelled());
    fixture.reconcile().await;
    let event = fixture.api.asked().into_iter().find(|(method, _, _)| method == "POST").unwrap().2;
    assert_eq!((&event["reason"], &event["type"]), (&json!("Injecting"), &json!("Normal")));
    assert_eq!(event["regarding"]["name"], "ring");
}

#[tokio::test]
async fn a_framebuffer_that_is_deleted_meanwhile_is_no_error() {
    let api = FakeApi::default();
    let (_sender, readiness) = watch::channel(Some(Readiness::Ready));
    let settings = Settings { sidecar_image: "sidecar:1".to_owned(), ..Settings::default() };
    let context = Context::new(api.client(|_| None), settings, "me", readiness, Arc::default());
    let framebuffer = framebuffer(json!({"size": "1Mi"}));
    reconcile(Arc::new(framebuffer), Arc::new(context)).await.unwrap();
}
