//! Tests of what becomes of a status that somebody else changes, or that the API server refuses.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::controller::fixture::{Fixture, labelled};

#[tokio::test]
async fn a_status_that_somebody_else_changes_is_put_back_with_its_times_and_reported() {
    let changes: [fn(&mut Value); 6] = [
        |status| status["injection"]["sidecar"]["image"] = json!("other:1"),
        |status| status["injection"]["sidecar"]["command"] = json!(["/bin/sh"]),
        |status| status["injection"]["containers"] = json!(["app"]),
        |status| status["injection"]["renderedAt"] = json!("2039-01-01T00:00:00Z"),
        |status| status["conditions"][0]["status"] = json!("False"),
        |status| *status = json!({}),
    ];
    for change in changes {
        let mut fixture = Fixture::new("OnDelete", labelled());
        fixture.settle().await;
        let good = fixture.statuses().pop().unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        fixture.edit(bad.clone());
        assert_eq!(fixture.reconcile().await, None);
        assert_eq!(fixture.statuses(), [good.clone(), good], "{bad}");
        assert_eq!(fixture.events(), ["Injecting", "StatusRestored"]);
        assert_eq!(fixture.context.metrics.status_repairs.get(), 1);
    }
}

#[tokio::test]
async fn whoever_keeps_changing_a_status_is_answered_ever_more_slowly_and_once_a_minute_at_least() {
    let mut fixture = Fixture::new("OnDelete", labelled());
    fixture.settle().await;
    let start = fixture.now;
    // Once a second for twenty minutes.
    let mut longest = Duration::ZERO;
    let mut last = start;
    for second in 0..1200 {
        fixture.now = start + Duration::from_secs(second);
        let before = fixture.context.metrics.status_writes.get();
        fixture.edit(json!({"observedGeneration": 7}));
        fixture.reconcile().await;
        if fixture.context.metrics.status_writes.get() > before {
            longest = longest.max(fixture.now.duration_since(last).unsigned_abs());
            last = fixture.now;
        }
    }
    let writes = fixture.context.metrics.status_writes.get();
    assert!((20..=30).contains(&writes), "{writes}");
    assert!(longest <= Duration::from_secs(61), "{longest:?}");
    // Once it is over, the next change is put back at once again.
    fixture.now += Duration::from_mins(11);
    fixture.reconcile().await;
    assert_eq!(fixture.context.metrics.status_writes.get(), writes + 1);
}

#[tokio::test]
async fn a_write_that_the_watch_has_not_shown_yet_is_not_repeated() {
    let mut fixture = Fixture::new("OnDelete", labelled());
    fixture.framebuffer.metadata.resource_version = Some("7".to_owned());
    fixture.reconcile().await;
    fixture.reconcile().await;
    assert_eq!(fixture.written().len(), 1);
    assert_eq!(fixture.context.metrics.status_repairs.get(), 0);
}

#[tokio::test]
async fn a_watch_that_lags_behind_two_writes_is_not_taken_for_somebody_elses_edit() {
    let mut fixture = Fixture::new("OnDelete", labelled());
    fixture.framebuffer.metadata.resource_version = Some("7".to_owned());
    fixture.reconcile().await;
    fixture.pod_of("a", None, "2020-01-01T00:00:00Z");
    fixture.reconcile().await;
    let [first, second] = &fixture.statuses()[..] else { panic!("{:?}", fixture.statuses()) };
    for (version, status) in [("write-1", first.clone()), ("write-2", second.clone())] {
        fixture.edit(status);
        fixture.framebuffer.metadata.resource_version = Some(version.to_owned());
        fixture.reconcile().await;
        assert_eq!((fixture.written().len(), fixture.context.metrics.status_repairs.get()), (2, 0), "{version}");
    }
    let old = fixture.statuses().remove(0);
    fixture.edit(old);
    fixture.reconcile().await;
    assert_eq!(fixture.context.metrics.status_repairs.get(), 1, "somebody has put the first one back");
}

#[tokio::test]
async fn a_framebuffer_that_was_created_again_gets_times_of_its_own() {
    let mut fixture = Fixture::new("OnDelete", labelled());
    fixture.settle().await;
    fixture.framebuffer.metadata.uid = Some("another".to_owned());
    fixture.framebuffer.status = None;
    fixture.reconcile().await;
    let status = fixture.statuses().pop().unwrap();
    assert_eq!(status["injection"]["renderedAt"], json!("2030-01-01T00:00:10Z"));
    assert_eq!(fixture.context.metrics.status_repairs.get(), 0);
}

#[tokio::test]
async fn while_the_api_server_refuses_what_is_injected_ready_says_so() {
    for had_one in [false, true] {
        let mut fixture = Fixture::new("OnDelete", labelled());
        if had_one {
            fixture.edit(json!({"observedGeneration": 1}));
        }
        let refusal = json!({"kind": "Status", "code": 422, "message": "denied: image"});
        let refuses = move |body: &Value| body[1]["value"]["injection"].is_object().then(|| refusal.clone());
        let cluster = Arc::clone(&fixture.cluster);
        let client =
            fixture.api.client(move |asked| refuses(&asked.2).or_else(|| cluster.answer(&asked.0, &asked.1, &asked.2)));
        Arc::get_mut(&mut fixture.context).unwrap().client = client;
        fixture.try_reconcile().await.unwrap_err();
        let (_, _, body) = fixture.written().pop().unwrap();
        let expected = if had_one { "/status/conditions" } else { "/status" };
        assert_eq!(body[1]["path"], expected);
        let conditions = body[1]["value"].get("conditions").unwrap_or(&body[1]["value"]);
        assert_eq!((&conditions[0]["status"], &conditions[0]["reason"]), (&json!("False"), &json!("InjectionRefused")));
        assert!(conditions[0]["message"].as_str().unwrap().ends_with("if anything: denied: image"), "{conditions}");
    }
}
