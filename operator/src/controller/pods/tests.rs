//! Tests of the index.

use serde_json::{Value, json};

use super::*;

fn pod(name: &str, label: &str, change: impl Fn(&mut Value)) -> WatchedPod {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "video",
            "labels": {"framebuffer.dev/inject": label},
            "annotations": {"framebuffer.dev/injected": "new"},
            "creationTimestamp": "2030-01-01T00:00:00Z",
        },
        "spec": {"containers": [{"name": "a"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "reason": "x"}]},
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn of(name: &str) -> ObjectRef<FrameBuffer> {
    ObjectRef::new(name).within("video")
}

fn counts(index: &PodIndex, name: &str) -> (i32, i32, i32) {
    let PodCounts { matched, ready, outdated } = index.count(&of(name), Some("new"));
    (matched, ready, outdated)
}

#[test]
fn pods_are_counted_by_readiness_and_hash() {
    let mut index = PodIndex::default();
    index.apply(Event::Apply(pod("a", "ring", |_| {})));
    index.apply(Event::Apply(pod("b", "ring", |pod| pod["status"]["conditions"][0]["status"] = json!("False"))));
    index.apply(Event::Apply(pod("c", "ring", |pod| pod["metadata"]["annotations"] = json!(null))));
    index.apply(Event::Apply(pod("d", "other", |pod| pod["status"] = json!(null))));
    assert_eq!(counts(&index, "ring"), (3, 2, 1));
    assert_eq!(counts(&index, "other"), (1, 0, 0));
    assert_eq!(index.count(&of("ring"), None).outdated, 0, "nothing is outdated while nothing is injected");
    assert_eq!(index.len(), 4);
}

#[test]
fn only_what_is_counted_causes_work() {
    let mut index = PodIndex::default();
    assert_eq!(index.apply(Event::Apply(pod("a", "ring", |_| {}))), [of("ring")]);
    let irrelevant = pod("a", "ring", |pod| pod["status"]["podIP"] = json!("10.0.0.1"));
    assert_eq!(index.apply(Event::Apply(irrelevant)), []);
    let unready = pod("a", "ring", |pod| pod["status"]["conditions"] = json!([]));
    assert_eq!(index.apply(Event::Apply(unready)), [of("ring")]);
}

#[test]
fn a_pod_that_ends_or_goes_is_no_longer_counted() {
    let mut index = PodIndex::default();
    for name in ["a", "b", "c"] {
        index.apply(Event::Apply(pod(name, "ring", |_| {})));
    }
    let ended = |name, phase: &'static str| pod(name, "ring", move |pod| pod["status"]["phase"] = json!(phase));
    assert_eq!(index.apply(Event::Apply(ended("a", "Succeeded"))), [of("ring")]);
    assert_eq!(index.apply(Event::Apply(ended("b", "Failed"))), [of("ring")]);
    assert_eq!(counts(&index, "ring"), (1, 1, 0));
    assert_eq!(index.apply(Event::Delete(pod("c", "ring", |_| {}))), [of("ring")]);
    assert_eq!(index.apply(Event::Delete(pod("c", "ring", |_| {}))), []);
    assert!(index.is_empty() && index.pods.is_empty());
}

#[test]
fn a_pod_whose_label_changes_moves() {
    let mut index = PodIndex::default();
    index.apply(Event::Apply(pod("a", "ring", |_| {})));
    assert_eq!(index.apply(Event::Apply(pod("a", "other", |_| {}))), [of("ring"), of("other")]);
    assert_eq!((counts(&index, "ring").0, counts(&index, "other").0), (0, 1));
}

#[test]
fn a_list_after_a_gap_removes_what_went_meanwhile() {
    let mut index = PodIndex::default();
    for name in ["a", "b"] {
        index.apply(Event::Apply(pod(name, "ring", |_| {})));
    }
    index.apply(Event::Init);
    assert_eq!(index.apply(Event::InitApply(pod("b", "ring", |_| {}))), []);
    assert_eq!(counts(&index, "ring").0, 2, "nothing is missing while the list is being received");
    assert_eq!(index.apply(Event::InitDone), [of("ring")]);
    assert_eq!(counts(&index, "ring").0, 1);
}
