//! Tests of reconciliation against an API server of a few lines.

use jiff::Timestamp;
use serde_json::json;

use super::fixture::{Fixture, NOW, labelled};
use super::reconcile::reconcile_at;
use super::*;
use crate::injector::Readiness;
use crate::render::Settings;
use crate::testing::{Asked, FakeApi, framebuffer};

const WEB: &str = "/apis/apps/v1/namespaces/video/deployments/web";

#[tokio::test]
async fn a_status_is_written_once_as_a_whole() {
    let mut fixture = Fixture::new("OnDelete", labelled());
    fixture.pod("a", None);
    fixture.reconcile().await;
    let written = fixture.written();
    let [(_, uri, body)] = &written[..] else { panic!("{written:?}") };
    assert!(uri.contains("fieldManager=framebuffer-operator"), "{uri}");
    assert_eq!(body[0], json!({"op": "test", "path": "/metadata/uid", "value": "fb"}));
    assert_eq!((&body[1]["op"], &body[1]["path"]), (&json!("add"), &json!("/status")));
    assert_eq!(body[1]["value"]["pods"], json!({"matched": 1, "ready": 0, "outdated": 1}));
    fixture.show();
    assert_eq!(fixture.reconcile().await, None);
    assert_eq!(fixture.written().len(), 1, "nothing has changed");
    assert_eq!(fixture.restarts(), []);
}

#[tokio::test]
async fn owners_are_restarted_only_after_the_change_has_settled() {
    let fixture = Fixture::new("RollingRestart", labelled());
    fixture.pod("a", Some(("apps/v1", "ReplicaSet")));
    assert_eq!(fixture.reconcile().await, Some(restart::SETTLE.unsigned_abs()));
    assert_eq!(fixture.restarts(), []);
    let conditions = &fixture.statuses()[0]["conditions"];
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
    let change = format!("{hash}-{}", NOW.parse::<Timestamp>().unwrap().as_second());
    let annotations = json!({"framebuffer.dev/restarted-for": change});
    assert_eq!(*body, json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}));
    let asked = fixture.api.paths().iter().filter(|path| path.contains("/replicasets/")).count();
    assert_eq!(asked, 2, "of which Deployment the ReplicaSet is: as a new leader, and before it is restarted");
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
    let status = fixture.statuses().pop().unwrap();
    assert_eq!(status["conditions"][1]["reason"], "Restarted");
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
        let status = fixture.statuses().pop().unwrap();
        assert_eq!(status["conditions"][1]["reason"], "CannotRestart");
        let message = status["conditions"][1]["message"].as_str().unwrap();
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
    assert_eq!(fixture.reconcile().await, None);
    assert!(fixture.api.paths().iter().all(|path| !path.contains("/apps/")), "{:?}", fixture.api.paths());
    let status = fixture.statuses().pop().unwrap();
    assert_eq!(status["conditions"][1]["reason"], "RestartsOff");
}

#[tokio::test]
async fn a_restart_that_is_refused_is_reported_as_failed_and_tried_again() {
    let mut fixture = Fixture::new("RollingRestart", labelled());
    let refuses = |(_, uri, _): &Asked| {
        uri.contains("/apps/").then(|| json!({"kind": "Status", "code": 403, "reason": "Forbidden"}))
    };
    let cluster = Arc::clone(&fixture.cluster);
    let client =
        fixture.api.client(move |asked| refuses(asked).or_else(|| cluster.answer(&asked.0, &asked.1, &asked.2)));
    Arc::get_mut(&mut fixture.context).unwrap().client = client;
    fixture.pod("a", Some(("apps/v1", "StatefulSet")));
    fixture.settle().await;
    assert_eq!(fixture.reconcile().await, Some(Duration::from_mins(1)));
    let status = fixture.statuses().pop().unwrap();
    let condition = &status["conditions"][1];
    assert_eq!(condition["reason"], "RestartFailed");
    assert!(condition["message"].as_str().unwrap().contains("failed to restart StatefulSet web-1"), "{condition}");
}

#[tokio::test]
async fn pods_created_after_a_change_are_not_restarted_for_it() {
    let mut fixture = Fixture::new("RollingRestart", labelled());
    fixture.now = "2019-01-01T00:00:00Z".parse().unwrap();
    fixture.pod("a", Some(("apps/v1", "ReplicaSet")));
    fixture.settle().await;
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
    assert_eq!(reconcile_at(&Watched::from(framebuffer), &context, Timestamp::now()).await.unwrap(), None);
}

#[tokio::test]
async fn a_time_to_come_in_a_status_neither_panics_nor_puts_off_restarts() {
    let mut fixture = Fixture::new("RollingRestart", labelled());
    fixture.settle().await;
    let mut status = fixture.statuses().pop().unwrap();
    status["injection"]["renderedAt"] = json!("9999-12-30T22:00:00Z");
    // A new leader does not know what was written.
    let mut fixture = Fixture::new("RollingRestart", labelled());
    fixture.pod("a", Some(("apps/v1", "ReplicaSet")));
    fixture.edit(status);
    fixture.settle().await;
    fixture.reconcile().await;
    assert_eq!(fixture.restarts().len(), 1);
}
