//! Frames between the containers of a pod.

use std::fs::File;
use std::process::{Command, Stdio};

use framebuffer_contract::kubernetes::SIDECAR;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, pod, video};
use framebuffer_e2e::metrics::{measured, usage};
use framebuffer_e2e::program::succeed;
use framebuffer_e2e::{TestNamespace, in_namespace, in_restricted_namespace};
use framebuffer_operator::api::FrameBuffer;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use serde_json::{Value, json};

/// The lines about frames; the others are about the stream.
fn frames(framemd5: &str) -> Vec<&str> {
    framemd5.lines().filter(|line| line.starts_with("0,")).collect()
}

/// Streams the clip through a pod's ring: in by the writer's standard input, out as checksums in the reader's log.
async fn stream_the_clip(namespace: &TestNamespace, mut pod: Value) -> Value {
    let clip = std::env::var("FRAMEBUFFER_CLIP").expect("FRAMEBUFFER_CLIP names a clip");
    let folder = tempfile::tempdir().unwrap();
    let decoded = folder.path().join("clip.y4m").display().to_string();
    succeed("ffmpeg", &["-v", "error", "-i", &clip, "-an", "-f", "yuv4mpegpipe", &decoded]);
    let expected = succeed("ffmpeg", &["-v", "error", "-i", &clip, "-an", "-f", "framemd5", "-"]);
    assert!(frames(&expected).len() > 100, "the clip has only {} frames", frames(&expected).len());
    pod["spec"]["containers"][0]["stdin"] = json!(true);
    pod["spec"]["containers"][0]["stdinOnce"] = json!(true);
    let created = namespace.accept(&pod).await;
    namespace.wait("clip", "to run", |pod: &Pod| framebuffer_e2e::namespace::phase(pod) == "Running").await;
    let mut attach = Command::new("kubectl");
    attach.args(["-n", &namespace.name, "attach", "-i", "clip", "-c", "writer"]).stdin(File::open(&decoded).unwrap());
    let attached = attach.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
    namespace.succeeded("clip").await;
    let received = namespace.log("clip", "reader").await;
    assert_eq!(frames(&received), frames(&expected), "{received}");
    created
}

fn clip_pod() -> Value {
    // No frame may be lost: the writer waits for the reader, at the start and whenever it is eight frames ahead.
    let writer = video("writer", "frame-writer", &["-", "--keep=8", "--wait=60"]);
    pod("clip", &[writer, video("reader", "frame-reader", &["--lossless", "--framemd5=-"])])
}

#[test]
fn every_frame_of_a_real_clip_arrives_identical() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "32Mi", "window": "auto"}))).await;
        let pod = stream_the_clip(namespace, clip_pod()).await;
        let window = json!({"name": "FRAMEBUFFER_WINDOW", "value": "auto"});
        assert!(pod["spec"]["initContainers"][0]["env"].as_array().unwrap().contains(&window), "{pod:#}");
    });
}

#[test]
fn every_frame_arrives_in_a_restricted_namespace_under_three_users() {
    in_restricted_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "32Mi"}))).await;
        let mut pod = clip_pod();
        pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        for (container, user) in [(0, 10001), (1, 10002)] {
            pod["spec"]["containers"][container]["securityContext"] = json!({
                "runAsUser": user,
                "runAsGroup": user,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            });
        }
        let created = stream_the_clip(namespace, pod).await;
        let sidecar = &created["spec"]["initContainers"][0]["securityContext"];
        assert_eq!(sidecar["runAsUser"], 65532, "{sidecar:#}");
    });
}

#[test]
fn a_large_ring_is_charged_to_the_sidecar_and_within_its_limit() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "512Mi"}))).await;
        let mut app = idle("app");
        // It sees the ring of 512 MiB, which is not charged to it.
        app["resources"] = json!({"limits": {"memory": "32Mi"}});
        let mut large = pod("large", &[app]);
        large["spec"]["shareProcessNamespace"] = json!(true);
        namespace.accept(&large).await;
        let pod = namespace.ready("large").await;
        let ring = namespace.exec("large", "app", &["/bin/sh", "-c", "stat -c '%s %b %B' /dev/shm/framebuffer-*"]);
        let [size, blocks, block] =
            ring.split_whitespace().map(|number| number.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{ring}")
        };
        assert!(size >= 512 << 20 && blocks * block >= size, "{ring}");
        // All memory of the ring is allocated from the start: read all of it.
        namespace.exec("large", "app", &["/bin/sh", "-c", "cat /dev/shm/framebuffer-* > /dev/null"]);
        let node = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
        let of = |container: &str| usage(&node, &namespace.name, "large", container);
        namespace
            .until("the kubelet has measured the pod", async || {
                of(SIDECAR).is_some_and(|used| used.memory > size) && of("app").is_some()
            })
            .await;
        let (sidecar, app) = (of(SIDECAR).unwrap().memory, of("app").unwrap().memory);
        // The charge includes page tables and probes; the kernel reports resident memory.
        let status = "cat /proc/$(pidof framebuffer-sidecar | tr ' ' '\\n' | sort -n | head -n 1)/status";
        let status = namespace.exec("large", "app", &["/bin/sh", "-c", status]);
        let resident = kibibytes(&status, "RssAnon:") + kibibytes(&status, "RssFile:");
        measured(&format!(
            "sidecar with a ring of 512 MiB: resident beyond the ring {resident} KiB, page tables {} KiB, charged \
             beyond the ring {} KiB",
            kibibytes(&status, "VmPTE:"),
            (sidecar - size) >> 10
        ));
        assert!(resident < 6 << 10, "{status}");
        assert!(app < 32 << 20, "{app} bytes are charged to the application");
        let spec = pod.spec.unwrap();
        let sidecar_spec = &spec.init_containers.unwrap()[0];
        let limit = &sidecar_spec.resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"];
        let limit: u64 = limit.0.trim_end_matches("Mi").parse::<u64>().unwrap() << 20;
        assert!(sidecar < limit, "{sidecar} of {limit}");
        let kept = &spec.containers[0].resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"];
        assert_eq!(kept.0, "32Mi");
    });
}

fn kibibytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{status}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_ring_larger_than_any_node_is_reported_in_the_pods_events_and_status() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "900Gi"}))).await;
        namespace.accept(&pod("huge", &[idle("app")])).await;
        namespace
            .until("the event says why", async || {
                let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
                events.iter().any(|event| {
                    event.reason.as_deref() == Some("FailedScheduling")
                        && event.message.as_deref().is_some_and(|text| text.contains("Insufficient memory"))
                })
            })
            .await;
        let unschedulable = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|condition| {
                condition.reason.as_deref() == Some("Unschedulable")
                    && condition.message.as_deref().is_some_and(|text| text.contains("Insufficient memory"))
            })
        };
        namespace.wait("huge", "to be unschedulable", unschedulable).await;
        let counted = |found: &FrameBuffer| {
            found
                .status
                .as_ref()
                .and_then(|status| status.pods)
                .is_some_and(|pods| (pods.matched, pods.ready) == (1, 0))
        };
        namespace.wait(RING, "to count a pod that is not ready", counted).await;
    });
}

#[test]
fn a_memory_limit_that_cannot_hold_the_ring_is_reported_before_any_pod_starts() {
    in_namespace(async |namespace| {
        let sidecar = json!({"resources": {"limits": {"memory": "32Mi"}}});
        namespace.declare(&framebuffer(&json!({"size": "256Mi", "sidecar": sidecar}))).await;
        let words = "spec.sidecar.resources";
        let reported = |found: &FrameBuffer| {
            let conditions = found.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                condition.type_ == "Ready" && condition.reason == "InvalidSpec" && condition.message.contains(words)
            })
        };
        namespace.wait(RING, "to be invalid", reported).await;
        let tight = pod("tight", &[idle("app")]);
        // In policy mode the name may not be bound yet.
        let in_words = async || namespace.try_dry(&tight).await.is_err_and(|error| error.to_string().contains(words));
        namespace.until("pods are refused in the same words", in_words).await;
    });
}
