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
        (bad(|review| review["request"]["uid"] = json!("u".repeat(254))), "uid of the review has 254 bytes"),
        (bad(|review| review["kind"] = json!("k".repeat(1 << 20))), "must be an AdmissionReview of"),
    ];
    for (body, reason) in bodies {
        let (status, message) = post(&admission, body, "application/json").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{message}");
        assert!(message.contains(reason) && message.len() <= MAX_MESSAGE, "{message}");
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

#[tokio::test]
async fn a_pod_beyond_a_bound_is_refused_with_the_bound_and_what_to_do() {
    let admission = admission(&FakeApi::default(), &[framebuffer(json!({"size": "1Mi"}))], None);
    let refused = async |change: fn(&mut Value)| {
        let mut pod = pod("ring");
        change(&mut pod);
        let response = ask(&admission, &pod).await;
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(413)));
        response["status"]["message"].as_str().unwrap().to_owned()
    };
    let message = refused(|pod| pod["spec"]["x"] = json!(vec![1; 100_000])).await;
    assert!(message.contains("more than 6 MiB") && message.contains("use fewer"), "{message}");
    let message = refused(|pod| pod["spec"]["containers"] = json!(vec![json!({"name": "a"}); 257])).await;
    assert!(message.contains("more than 256 containers") && message.contains("several pods"), "{message}");
}

#[tokio::test]
async fn what_nobody_reads_costs_nothing() {
    let admission = admission(&FakeApi::default(), &[framebuffer(json!({"size": "1Mi"}))], None);
    let mut pod = pod("ring");
    pod["metadata"]["managedFields"] = json!(vec![1; 1_000_000]);
    pod["status"] = json!(vec![1; 1_000_000]);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "a".repeat(100_000)}]);
    assert_eq!(ask(&admission, &pod).await["allowed"], true);
}

#[test]
fn the_webhook_sees_of_every_fixture_what_inject_sees() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let framebuffers: Vec<crate::api::FrameBuffer> =
        serde_saphyr::from_multiple(&read(folder.join("framebuffers.yaml"))).unwrap();
    let settings = Settings { sidecar_image: "sidecar:1".to_owned(), ..Settings::default() };
    let mut seen = 0;
    for entry in ["pods", "denied", "injected"].iter().flat_map(|part| std::fs::read_dir(folder.join(part)).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let pod: Value = serde_saphyr::from_str(&read(path.clone())).unwrap();
        let body = review(&pod).to_string();
        let (head, lean) = (review::parse(body.as_bytes()).unwrap(), review::pod(body.as_bytes()).unwrap());
        assert_eq!(wanted(head.head()), wanted(&pod));
        for framebuffer in &framebuffers {
            let rendering = render(&validate(framebuffer).unwrap(), &settings);
            assert_eq!(inject(&lean, &rendering), inject(&pod, &rendering), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
