//! Tests of what a workload says about its rollout.

use serde_json::{Value, json};

use super::*;

fn workload(kind: &'static str) -> Workload {
    Workload { kind, namespace: "video".to_owned(), name: "web".to_owned() }
}

fn deployment(updated: i64, all: i64, available: i64) -> Value {
    json!({"updatedReplicas": updated, "replicas": all, "availableReplicas": available})
}

fn daemons(updated: i64, available: i64) -> Value {
    json!({"desiredNumberScheduled": 3, "updatedNumberScheduled": updated, "numberAvailable": available})
}

#[test]
fn a_rollout_is_over_when_every_pod_is_new_and_available() {
    use Progress::{Complete, Partial, Rolling, Stuck};
    let gave_up = json!({"updatedReplicas": 1, "conditions": [{"reason": "ProgressDeadlineExceeded"}]});
    let partition = |number: i64| json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": number}}});
    let cases = [
        ("Deployment", json!({"replicas": 3}), deployment(3, 3, 3), Complete),
        ("Deployment", json!({"replicas": 3}), deployment(3, 4, 3), Rolling),
        ("Deployment", json!({"replicas": 3}), deployment(3, 3, 2), Rolling),
        ("Deployment", json!({"replicas": 3}), deployment(2, 3, 3), Rolling),
        ("Deployment", json!({"replicas": 0}), json!({}), Complete),
        ("Deployment", json!({}), deployment(1, 1, 1), Complete),
        ("Deployment", json!({"replicas": 3}), gave_up, Stuck),
        ("StatefulSet", json!({"replicas": 3}), deployment(3, 3, 3), Complete),
        ("StatefulSet", json!({"replicas": 3}), deployment(2, 3, 3), Rolling),
        ("StatefulSet", partition(2), deployment(1, 3, 3), Partial(2)),
        ("StatefulSet", partition(2), deployment(0, 3, 3), Rolling),
        ("StatefulSet", partition(i64::MAX), deployment(0, 3, 3), Partial(i64::MAX)),
        ("DaemonSet", json!({}), daemons(3, 3), Complete),
        ("DaemonSet", json!({}), daemons(3, 2), Rolling),
        ("DaemonSet", json!({}), daemons(2, 3), Rolling),
        ("Deployment", json!("nonsense"), json!([]), Rolling),
    ];
    for (kind, spec, mut status, expected) in cases {
        let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
        assert_eq!(workload(kind).progress(&object), Rolling, "not observed yet: {object}");
        if status.is_object() {
            status["observedGeneration"] = json!(2);
        }
        let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
        assert_eq!(workload(kind).progress(&object), expected, "{kind} {object}");
    }
}

#[test]
fn what_keeps_a_workload_from_rolling_comes_with_its_remedy() {
    let paused = workload("Deployment").hindrance(&json!({"spec": {"paused": true}})).unwrap();
    assert_eq!(paused, "Deployment web is paused: `kubectl -n video rollout resume deployment web`");
    let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
    for kind in ["StatefulSet", "DaemonSet"] {
        let text = workload(kind).hindrance(&on_delete).unwrap();
        assert!(text.contains("only when they are deleted"), "{text}");
        assert_eq!(workload(kind).hindrance(&json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}}})), None);
    }
}
