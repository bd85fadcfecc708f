//! Processes that die, and pods that end.

use framebuffer_contract::kubernetes::SIDECAR;
use framebuffer_e2e::manifests::{RING, framebuffer, pod, script, video};
use framebuffer_e2e::namespace::{is_ready, restarts};
use framebuffer_e2e::{TestNamespace, in_namespace};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::api::status::READY;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// A writer, a reader, and a shell from which the pod's processes can be killed.
async fn streaming(namespace: &TestNamespace, name: &str) -> Pod {
    let writer = video("writer", "frame-writer", &["--generate=640x360:rgb24", "--rate=30", "--progress"]);
    let reader = video("reader", "frame-reader", &["--forever", "--progress"]);
    let mut pod = pod(name, &[writer, reader, script("shell", "trap exit TERM; while :; do sleep 1 & wait $!; done")]);
    pod["spec"]["shareProcessNamespace"] = json!(true);
    pod["spec"]["restartPolicy"] = json!("Always");
    namespace.accept(&pod).await;
    let pod = namespace.ready(name).await;
    namespace.logged(name, "reader", |log| frames(log) >= 30).await;
    pod
}

/// How many frames the reader has reported.
fn frames(log: &str) -> u64 {
    let counts = log.lines().rev().find_map(|line| line.split_once(" frames, ")?.0.trim().parse().ok());
    counts.unwrap_or(0)
}

/// Waits until the reader has got a hundred frames more.
async fn flows_on(namespace: &TestNamespace, name: &str) {
    let before = frames(&namespace.log(name, "reader").await);
    namespace.logged(name, "reader", |log| frames(log) >= before + 100).await;
}

fn key(namespace: &TestNamespace, name: &str) -> String {
    namespace.exec(name, "shell", &["/bin/sh", "-c", "ls /dev/shm/framebuffer-*"])
}

fn head(namespace: &TestNamespace, name: &str) -> u64 {
    let stat = namespace.exec(name, SIDECAR, &["/framebuffer-sidecar", "stat", "--json"]);
    let stat: Value = serde_json::from_str(&stat).expect("stat prints JSON");
    stat["head_bytes"].as_u64().expect("stat prints the head")
}

#[test]
fn a_sidecar_killed_under_traffic_comes_back_with_the_same_ring_and_nobody_else_is_restarted() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "64Mi"}))).await;
        streaming(namespace, "kill").await;
        let (ring, before) = (key(namespace, "kill"), head(namespace, "kill"));
        namespace.kill("kill", "shell", "framebuffer-sidecar");
        namespace
            .wait("kill", "to have its sidecar restarted", |pod: &Pod| restarts(pod, SIDECAR) == 1 && is_ready(pod))
            .await;
        flows_on(namespace, "kill").await;
        let pod = namespace.ready("kill").await;
        for container in ["writer", "reader", "shell"] {
            assert_eq!(restarts(&pod, container), 0, "{container}");
        }
        assert_eq!(key(namespace, "kill"), ring);
        assert!(head(namespace, "kill") > before, "the ring goes on where it was");
        assert!(namespace.log("kill", SIDECAR).await.contains("adopted"), "{}", namespace.log("kill", SIDECAR).await);
        assert!(!namespace.log("kill", "reader").await.lines().any(lost), "{}", namespace.log("kill", "reader").await);
    });
}

/// Whether a line of progress reports a lost frame.
fn lost(line: &str) -> bool {
    line.ends_with(" lost") && !line.ends_with(" 0 lost")
}

#[test]
fn a_reader_goes_on_after_its_writer_was_killed() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "64Mi"}))).await;
        streaming(namespace, "writer").await;
        namespace.kill("writer", "shell", "frame-writer");
        namespace
            .wait("writer", "to have its writer restarted", |pod: &Pod| restarts(pod, "writer") == 1 && is_ready(pod))
            .await;
        flows_on(namespace, "writer").await;
        let pod = namespace.ready("writer").await;
        assert_eq!((restarts(&pod, "reader"), restarts(&pod, SIDECAR)), (0, 0));
    });
}

fn job(name: &str, containers: &[Value]) -> Value {
    let template = pod(name, containers);
    let template = json!({"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]});
    let spec = json!({"template": template, "backoffLimit": 0});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn a_job_completes_with_all_its_frames() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "16Mi"}))).await;
        let writer = video("writer", "frame-writer", &["--generate=320x180:rgb24", "--frames=50", "--wait=60"]);
        namespace
            .accept(&job("transcode", &[writer, video("reader", "frame-reader", &["--lossless", "--json"])]))
            .await;
        let completed = |job: &Job| job.status.as_ref().and_then(|status| status.succeeded) == Some(1);
        namespace.wait("transcode", "to complete", completed).await;
        let pods = namespace.pods().await;
        let statistics = namespace.log(pods[0].metadata.name.as_ref().unwrap(), "reader").await;
        let line = statistics.lines().find(|line| line.starts_with('{')).expect("a line of statistics");
        let statistics: Value = serde_json::from_str(line).unwrap();
        assert_eq!(statistics["frames"], 50, "{statistics}");
    });
}

#[test]
fn a_status_that_somebody_else_edits_is_put_back_within_seconds_without_a_pod() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        // In webhook mode it may be declared before it is rendered.
        let ready = |found: &FrameBuffer| {
            let conditions = found.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == READY && condition.status == "True")
        };
        let good = namespace.wait(RING, "to be ready", ready).await.status.unwrap();
        let api = namespace.api::<FrameBuffer>();
        let edits = [
            json!([{"op": "remove", "path": "/status/injection"}]),
            json!([{"op": "replace", "path": "/status", "value": {}}]),
            json!([{"op": "add", "path": "/status/pods/matched", "value": 7}]),
            json!([{"op": "replace", "path": "/status/conditions/0/status", "value": "Unknown"}]),
        ];
        for edit in edits {
            let patch = Patch::<Value>::Json(serde_json::from_value(edit.clone()).unwrap());
            let edited = api.patch_status(RING, &PatchParams::default(), &patch).await.unwrap();
            assert_ne!(edited.status.as_ref(), Some(&good), "{edit}");
            // No pod, no edit of the spec: only the status has changed.
            namespace
                .wait(RING, "to have its status back", |found: &FrameBuffer| found.status.as_ref() == Some(&good))
                .await;
        }
    });
}

#[test]
fn pods_go_on_after_their_framebuffer_was_deleted_and_new_ones_are_refused() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "64Mi"}))).await;
        streaming(namespace, "orphan").await;
        namespace.api::<FrameBuffer>().delete(RING, &DeleteParams::default()).await.unwrap();
        let late = pod("late", &[script("app", "true")]);
        // The injector learns of it a moment later.
        namespace.until("new pods are refused", async || namespace.try_dry(&late).await.is_err()).await;
        let message = namespace.reject(&late).await;
        assert!(message.contains(&format!("FrameBuffer `{RING}` does not exist")), "{message}");
        flows_on(namespace, "orphan").await;
        let pod = namespace.ready("orphan").await;
        for container in ["writer", "reader", SIDECAR] {
            assert_eq!(restarts(&pod, container), 0, "{container}");
        }
    });
}
