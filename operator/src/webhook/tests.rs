//! Tests of the webhook over its router, and over TLS.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request as HttpRequest, StatusCode};
use http_body_util::BodyExt as _;
use k8s_openapi::ByteString;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::testing::{FakeApi, framebuffer};

fn admission(api: &FakeApi, stored: &[crate::api::FrameBuffer], fresh: Option<Value>) -> Arc<Admission> {
    let (store, mut writer) = reflector::store();
    for framebuffer in stored {
        writer.apply_watcher_event(&Event::Apply(framebuffer.clone()));
    }
    let client = api.client(move |_| fresh.clone());
    Arc::new(Admission {
        framebuffers: Lookup::new(store, client),
        settings: Settings { sidecar_image: "sidecar:1".to_owned(), ..Settings::default() },
        metrics: Arc::default(),
    })
}

fn review(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": "u-1", "namespace": "video", "operation": "CREATE", "dryRun": true, "object": pod},
    })
}

fn pod(name: &str) -> Value {
    let labels = json!({"framebuffer.dev/inject": name});
    json!({"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [{"name": "a"}]}})
}

async fn post(admission: &Arc<Admission>, body: impl Into<Body>, kind: &str) -> (StatusCode, String) {
    let request = HttpRequest::post("/mutate").header("content-type", kind).body(body.into()).unwrap();
    let response = router(Arc::clone(admission)).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn ask(admission: &Arc<Admission>, pod: &Value) -> Value {
    let (status, body) = post(admission, review(pod).to_string(), "application/json").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "u-1");
    answer["response"].clone()
}

#[tokio::test]
async fn a_labelled_pod_gets_a_patch_of_additions() {
    let api = FakeApi::default();
    let admission = admission(&api, &[framebuffer(json!({"size": "1Mi"}))], None);
    let response = ask(&admission, &pod("ring")).await;
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch: ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: Value = serde_json::from_slice(&patch.0).unwrap();
    assert!(patch.as_array().unwrap().iter().all(|operation| operation["op"] == "add"));
    assert_eq!(api.asked(), [], "what is in memory is not asked for");
    assert!(admission.metrics.text().contains("admissions_total{result=\"injected\"} 1"));
}

#[tokio::test]
async fn a_pod_without_the_label_is_left_alone() {
    let admission = admission(&FakeApi::default(), &[], None);
    let response = ask(&admission, &json!({"metadata": {}, "spec": {"containers": []}})).await;
    assert_eq!(response, json!({"uid": "u-1", "allowed": true}));
}

#[tokio::test]
async fn a_framebuffer_that_was_created_a_moment_ago_is_found() {
    let api = FakeApi::default();
    let fresh = serde_json::to_value(framebuffer(json!({"size": "1Mi"}))).unwrap();
    let response = ask(&admission(&api, &[], Some(fresh)), &pod("ring")).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(api.paths(), ["GET /apis/framebuffer.dev/v1alpha1/namespaces/video/framebuffers/ring"]);
}

#[tokio::test]
async fn an_unknown_framebuffer_is_denied_with_what_to_do() {
    let admission = admission(&FakeApi::default(), &[], None);
    let response = ask(&admission, &pod("nope")).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)));
    let expected = "FrameBuffer `nope` does not exist in namespace `video`: create it, or correct the label \
                    framebuffer.dev/inject (`kubectl get framebuffers -n video` lists those that exist)";
    assert_eq!(response["status"]["message"], expected);
    let empty = ask(&admission, &pod("")).await;
    assert!(empty["status"]["message"].as_str().unwrap().contains("is empty"));
}

#[tokio::test]
async fn a_label_that_is_no_name_is_not_asked_for() {
    let api = FakeApi::default();
    let admission = admission(&api, &[], None);
    for name in ["A.b", "a_b", "..", "a..b", "a/../b"] {
        assert_eq!(ask(&admission, &pod(name)).await["allowed"], false, "{name}");
    }
    assert_eq!(api.asked(), []);
}

#[tokio::test]
async fn an_invalid_framebuffer_is_denied_with_its_reason() {
    let admission = admission(&FakeApi::default(), &[framebuffer(json!({"size": "1Ki"}))], None);
    let response = ask(&admission, &pod("ring")).await;
    let expected = "FrameBuffer `ring` is invalid: spec.size `1Ki` is 1024 bytes; it must be from 64Ki (65536) to 1Ti \
                    (1099511627776)";
    assert_eq!(response["status"]["message"], expected);
}

#[tokio::test]
async fn an_api_server_that_cannot_be_asked_is_an_error_and_no_denial() {
    let admission = admission(&FakeApi::default(), &[], Some(json!("nonsense")));
    let response = ask(&admission, &pod("ring")).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(500)));
    assert!(admission.metrics.text().contains("admissions_total{result=\"failed\"} 1"));
}

#[tokio::test]
async fn malformed_requests_are_refused_with_the_reason() {
    let admission = admission(&FakeApi::default(), &[], None);
    let bad = |change: fn(&mut Value)| {
        let mut review = review(&pod("ring"));
        change(&mut review);
        review.to_string()
    };
    let bodies = [
        ("{".to_owned(), "not an AdmissionReview"),
        ("[]".to_owned(), "not an AdmissionReview"),
        (bad(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1")), "must be an AdmissionReview of"),
        (bad(|review| review["request"] = json!(null)), "has no request"),
        (bad(|review| review["request"]["object"] = json!(null)), "has no object"),
        (bad(|review| review["request"]["uid"] = json!(7)), "not an AdmissionReview"),
    ];
    for (body, reason) in bodies {
        let (status, message) = post(&admission, body, "application/json").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{message}");
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(post(&admission, "{}", "text/plain").await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let long = vec![b' '; BODY_LIMIT + 1];
    assert_eq!(post(&admission, long, "application/json").await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_pod_that_is_none_is_denied() {
    let admission = admission(&FakeApi::default(), &[framebuffer(json!({"size": "1Mi"}))], None);
    let response = ask(&admission, &json!({"metadata": {"labels": {"framebuffer.dev/inject": "ring"}}})).await;
    assert_eq!(response["status"]["message"], "/spec is not an object: this is not a pod");
}
