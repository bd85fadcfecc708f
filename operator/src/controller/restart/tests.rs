//! Tests of restarts over time: how many at once, what holds them back, and upgrades of the operator.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::controller::context::Context;
use crate::controller::fixture::{Fixture, labelled};
use crate::controller::pace::Pace;
use crate::testing::Asked;

const WEB: &str = "/apis/apps/v1/namespaces/video/deployments/web";

fn rolling(owner: Option<(&str, &str, &str)>) -> Fixture {
    let fixture = Fixture::new("RollingRestart", labelled());
    fixture.pod_of("a", owner, "2020-01-01T00:00:00Z");
    fixture
}

fn deployment() -> Fixture {
    rolling(Some(("apps/v1", "ReplicaSet", "web-1")))
}

#[tokio::test]
async fn no_more_workloads_roll_at_once_than_the_pace_allows() {
    let mut fixture = ten();
    *fixture.context.pace.lock().unwrap() = Pace::new(4);
    fixture.settle().await;
    let mut finished = 0;
    while finished < 10 {
        fixture.later(10).await;
        let restarted: Vec<String> = fixture.restarts().into_iter().map(|(_, uri, _)| uri).collect();
        assert_eq!(restarted.len(), (finished + 4).min(10));
        let (reason, message) = fixture.up_to_date();
        if restarted.len() < 10 {
            assert_eq!(reason, "Restarting");
            assert!(message.contains(&format!("{} workloads wait", 10 - restarted.len())), "{message}");
        }
        fixture.cluster.finish(restarted[finished].split('?').next().unwrap());
        finished += 1;
    }
    fixture.later(10).await;
    assert_eq!(fixture.up_to_date().0, "Restarted");
    assert_eq!(fixture.restarts().len(), 10, "each once");
}

/// Ten Deployments with an outdated pod each.
fn ten() -> Fixture {
    let fixture = Fixture::new("RollingRestart", labelled());
    for number in 0..10 {
        let owner = format!("w{number}-1");
        fixture.pod_of(&owner, Some(("apps/v1", "ReplicaSet", &owner)), "2020-01-01T00:00:00Z");
    }
    fixture
}

/// Paths of the workloads that were restarted, in order.
fn restarted(fixture: &Fixture) -> Vec<String> {
    fixture.restarts().into_iter().map(|(_, uri, _)| uri.split('?').next().unwrap().to_owned()).collect()
}

/// What the API server notes about the operator's last write to a workload.
fn written_at(fixture: &Fixture, path: &str, time: Timestamp) {
    let entry = json!({"manager": MANAGER, "operation": "Update", "time": time.to_string()});
    fixture.cluster.edit(path, |workload| workload["metadata"]["managedFields"] = json!([entry]));
}

#[tokio::test]
async fn a_new_leader_counts_what_another_has_restarted() {
    let mut fixture = ten();
    *fixture.context.pace.lock().unwrap() = Pace::new(4);
    fixture.settle().await;
    fixture.later(10).await;
    let first = restarted(&fixture);
    assert_eq!(first.len(), 4);
    for path in &first {
        written_at(&fixture, path, fixture.now);
    }
    fixture.another_leader(Pace::new(4));
    for _ in 0..3 {
        fixture.later(10).await;
        assert_eq!(restarted(&fixture), first);
        let (reason, message) = fixture.up_to_date();
        assert_eq!(reason, "Restarting", "{message}");
        assert!(message.contains("6 workloads wait"), "{message}");
    }
    fixture.cluster.finish(&first[0]);
    fixture.later(10).await;
    assert_eq!(restarted(&fixture).len(), 5);
}

#[tokio::test]
async fn a_new_leader_does_not_wait_for_what_makes_no_progress_or_has_no_framebuffer() {
    for (ring, newest, written, waits) in [
        ("second", "2029-12-31T23:59:00Z", "2029-12-31T23:00:00Z", true),
        ("second", "2029-12-31T23:00:00Z", "2029-12-31T23:59:00Z", true),
        ("second", "2029-12-31T23:00:00Z", "2029-12-31T23:00:00Z", false),
        ("gone", "2029-12-31T23:59:00Z", "2029-12-31T23:59:00Z", false),
    ] {
        let mut fixture = deployment();
        let other = "/apis/apps/v1/namespaces/video/deployments/other";
        fixture.labelled_pod("other", ring, Some(("apps/v1", "ReplicaSet", "other-1")), newest);
        fixture.cluster.edit(other, |found| {
            found["spec"]["template"]["metadata"]["annotations"] = json!({RESTARTED_ANNOTATION: "earlier"});
            found["metadata"]["generation"] = json!(2);
        });
        written_at(&fixture, other, written.parse().unwrap());
        fixture.another_leader(Pace::new(1));
        fixture.settle().await;
        fixture.later(10).await;
        let waiting = !restarted(&fixture).iter().any(|path| path == WEB);
        assert_eq!(waiting, waits, "{ring}: newest pod {newest}, restarted {written}");
    }
}

#[tokio::test]
async fn a_new_leader_that_cannot_look_at_the_workloads_restarts_nothing_until_it_can() {
    let mut fixture = ten();
    let cluster = Arc::clone(&fixture.cluster);
    let (sender, broken) = tokio::sync::watch::channel(true);
    let client = fixture.api.client(move |asked| {
        let fails = *broken.borrow() && asked.1.contains("/deployments/w7");
        if fails { Some(json!({"kind": "Status", "code": 500})) } else { cluster.answer(&asked.0, &asked.1, &asked.2) }
    });
    Arc::get_mut(&mut fixture.context).unwrap().client = client;
    fixture.settle().await;
    fixture.later(10).await;
    assert_eq!(restarted(&fixture), [] as [&str; 0]);
    let (reason, message) = fixture.up_to_date();
    assert!(reason == "RestartFailed" && message.contains("Deployment w7"), "{reason}: {message}");
    sender.send(false).unwrap();
    fixture.later(10).await;
    assert_eq!(restarted(&fixture).len(), 10);
}

#[tokio::test]
async fn a_rollout_that_does_not_end_is_reported_and_holds_up_the_others_no_longer() {
    let mut fixture = deployment();
    *fixture.context.pace.lock().unwrap() = Pace::new(1);
    fixture.settle().await;
    fixture.later(10).await;
    assert_eq!(fixture.up_to_date().0, "Restarting");
    // Progress puts the deadline off.
    fixture.cluster.edit(WEB, |web| web["status"]["updatedReplicas"] = json!(2));
    fixture.later(14 * 60).await;
    fixture.later(14 * 60).await;
    assert_eq!(fixture.up_to_date().0, "Restarting");
    fixture.later(2 * 60).await;
    assert_eq!(fixture.up_to_date().0, "RestartStuck");
    assert!(fixture.events().contains(&"RestartStuck".to_owned()));
    assert!(fixture.context.pace.lock().unwrap().has_room());
    fixture.later(10).await;
    assert_eq!(fixture.restarts().len(), 1, "once");
}

#[tokio::test]
async fn a_workload_that_is_set_not_to_replace_pods_is_left_alone_until_it_is_set_otherwise() {
    let sets = "/apis/apps/v1/namespaces/video/statefulsets/web-1";
    let cases = [
        (("apps/v1", "ReplicaSet", "web-1"), WEB, "/spec/paused", json!(true), "rollout resume"),
        (("apps/v1", "StatefulSet", "web-1"), sets, "/spec/updateStrategy", json!({"type": "OnDelete"}), "OnDelete"),
    ];
    for (owner, path, field, value, expected) in cases {
        let mut fixture = rolling(Some(owner));
        let set =
            |value: Value| fixture.cluster.edit(path, |web| web["spec"][field.trim_start_matches("/spec/")] = value);
        set(value);
        fixture.settle().await;
        fixture.later(10).await;
        let (reason, message) = fixture.up_to_date();
        assert_eq!(reason, "HeldBack");
        assert!(message.contains(expected), "{message}");
        fixture.later(60).await;
        assert_eq!(fixture.restarts(), []);
        assert_eq!(fixture.events().iter().filter(|reason| *reason == "HeldBack").count(), 1);
        fixture.cluster.edit(path, |web| web["spec"][field.trim_start_matches("/spec/")] = Value::Null);
        fixture.later(60).await;
        assert_eq!(fixture.restarts().len(), 1, "{field}");
    }
}

#[tokio::test]
async fn a_partition_is_named_as_the_reason_for_pods_that_stay_old() {
    let path = "/apis/apps/v1/namespaces/video/statefulsets/web-1";
    let mut fixture = rolling(Some(("apps/v1", "StatefulSet", "web-1")));
    fixture.cluster.edit(path, |web| web["spec"]["updateStrategy"] = json!({"rollingUpdate": {"partition": 1}}));
    fixture.settle().await;
    fixture.later(10).await;
    fixture.cluster.finish(path);
    fixture.later(10).await;
    let (reason, message) = fixture.up_to_date();
    assert_eq!(reason, "HeldBack");
    assert!(message.contains("keeps its pods with numbers below 1"), "{message}");
    assert_eq!(fixture.restarts().len(), 1);
}

#[tokio::test]
async fn a_restart_that_somebody_takes_back_is_not_repeated() {
    let mut fixture = deployment();
    fixture.settle().await;
    fixture.later(10).await;
    fixture.cluster.edit(WEB, |web| web["spec"]["template"]["metadata"]["annotations"] = Value::Null);
    for _ in 0..3 {
        fixture.later(10).await;
    }
    assert_eq!(fixture.up_to_date().0, "RestartReverted");
    assert_eq!(fixture.restarts().len(), 1);
    assert!(fixture.events().contains(&"RestartReverted".to_owned()));
}

#[tokio::test]
async fn a_change_that_is_taken_back_is_a_change_of_its_own() {
    let mut fixture = deployment();
    for (size, restarts) in [("1Mi", 1), ("2Mi", 2), ("1Mi", 3)] {
        fixture.framebuffer.spec.size = size.to_owned();
        fixture.settle().await;
        fixture.later(10).await;
        fixture.cluster.finish(WEB);
        fixture.later(10).await;
        assert_eq!(fixture.restarts().len(), restarts, "{size}");
    }
}

/// The operator's pods: this one, and others.
fn pods(uri: &str, others: &[&str]) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "framebuffer", "app.kubernetes.io/instance": "fb", "pod-template-hash": "new",
    });
    let pod = |name: &str| json!({"metadata": {"name": name, "labels": labels}});
    let names = if uri.contains("metadata.name%3Dme") { vec!["me"] } else { others.to_vec() };
    let items: Vec<Value> = names.into_iter().map(pod).collect();
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items})
}

#[tokio::test]
async fn nothing_is_restarted_while_replicas_with_old_settings_still_inject() {
    let mut fixture = deployment();
    let (sender, others) = tokio::sync::watch::channel(vec!["old-1", "old-2"]);
    let cluster = Arc::clone(&fixture.cluster);
    let client = fixture.api.client(move |(method, uri, body): &Asked| {
        let listed = uri.starts_with("/api/v1/namespaces/system/pods").then(|| pods(uri, &others.borrow()));
        listed.or_else(|| cluster.answer(method, uri, body))
    });
    let context: &mut Context = Arc::get_mut(&mut fixture.context).unwrap();
    context.client = client.clone();
    context.replicas = Some(crate::controller::replicas::Replicas::new(client, "system", "me"));
    fixture.settle().await;
    for _ in 0..5 {
        fixture.later(10).await;
        assert_eq!(fixture.restarts(), []);
        let (reason, message) = fixture.up_to_date();
        assert_eq!(reason, "UpgradeInProgress");
        assert!(message.contains("old-1, old-2"), "{message}");
    }
    let selector = "labelSelector=app.kubernetes.io%2Fname%3Dframebuffer%2Capp.kubernetes.io%2Finstance%3Dfb%2C\
                    pod-template-hash%2Cpod-template-hash%21%3Dnew";
    let asked = fixture.api.asked().into_iter().find(|(_, uri, _)| uri.contains("labelSelector")).unwrap().1;
    assert!(asked.contains(selector) && asked.contains("status.phase%21%3DFailed"), "{asked}");
    // Injected by an old replica, long after the change has settled.
    let late = (fixture.now - SignedDuration::from_secs(5)).to_string();
    fixture.pod_of("late", Some(("apps/v1", "ReplicaSet", "late-1")), &late);
    sender.send(Vec::new()).unwrap();
    fixture.later(10).await;
    let restarted: BTreeSet<String> = fixture.restarts().into_iter().map(|(_, uri, _)| uri).collect();
    assert_eq!(restarted.len(), 2, "{restarted:?}");
}
