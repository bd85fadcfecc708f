//! Tests of what is kept of a `FrameBuffer`.

use serde_json::json;

use super::*;

#[test]
fn what_is_kept_does_not_grow_with_what_users_and_the_operator_write() {
    let large = "x".repeat(200 << 10);
    let json = json!({
        "apiVersion": "framebuffer.dev/v1alpha1",
        "kind": "FrameBuffer",
        "metadata": {
            "name": "ring", "namespace": "video", "uid": "u", "generation": 3, "resourceVersion": "9",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": large},
            "labels": {"team": large},
            "finalizers": [large],
            "managedFields": [
                {"manager": "framebuffer-operator", "subresource": "status", "fieldsV1": {"f:status": large}},
                {"manager": "kubectl-edit", "subresource": "status", "operation": "Update"},
                {"manager": "kubectl", "operation": "Apply"},
            ],
        },
        "spec": {"size": "1Mi"},
        "status": {
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Injecting", "message": large,
                "lastTransitionTime": "2030-01-01T00:00:00Z",
            }],
            "injection": {
                "hash": "h", "renderedAt": "2030-01-01T00:00:00Z", "sidecar": {"name": large}, "volume": {},
                "volumeMount": {}, "env": [],
            },
        },
    });
    let watched: Watched = serde_json::from_value(json).unwrap();
    assert!(format!("{watched:?}").len() < 2000, "{watched:?}");
    assert_eq!(watched.writers, ["kubectl-edit"]);
    let dated = &watched.shown.as_ref().unwrap().dated;
    assert_eq!(dated.rendered_at("h"), Some("2030-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(dated.condition("Ready").unwrap().reason, "Injecting");
}

#[test]
fn a_status_that_cannot_be_read_counts_as_none() {
    for at in ["9999-12-31T23:59:59Z", "today"] {
        let injection = json!({
            "hash": "h", "renderedAt": at, "sidecar": {}, "volume": {}, "volumeMount": {}, "env": [],
        });
        let json = json!({"metadata": {"name": "ring"}, "spec": {"size": "1Mi"}, "status": {"injection": injection}});
        let watched: Watched = serde_json::from_value(json).unwrap();
        assert_eq!(watched.shown, None, "{at}");
    }
}

#[test]
fn a_digest_knows_every_field_and_no_order() {
    let of = |json| Digest::of(&serde_json::from_value(json).unwrap());
    let injection = |sidecar| {
        json!({"injection": {
            "hash": "h", "renderedAt": "2030-01-01T00:00:00Z", "sidecar": sidecar, "volume": {}, "volumeMount": {},
            "env": [],
        }})
    };
    let written = of(injection(json!({"name": "a", "image": {"x": 1, "y": [{"p": 1, "q": 2}]}})));
    let sorted = of(injection(json!({"image": {"y": [{"q": 2, "p": 1}], "x": 1}, "name": "a"})));
    assert_eq!(written, sorted);
    assert_ne!(written, of(injection(json!({"name": "a", "image": {"x": 1, "y": [{"p": 1, "q": 3}]}}))));
    assert_ne!(written, of(injection(json!({"name": "a"}))));
    assert_ne!(written, of(json!({})));
}
