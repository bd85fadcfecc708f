//! Updates of pods with an older injection than the current one.

use framebuffer_contract::kubernetes::INJECTED_ANNOTATION;
use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, script, workload};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::size;
use framebuffer_operator::api::FrameBuffer;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::in_namespace;
use std::time::Duration;

fn counts(framebuffer: &FrameBuffer) -> Option<(i32, i32, i32)> {
    framebuffer.status.as_ref()?.pods.map(|pods| (pods.matched, pods.ready, pods.outdated))
}

fn hash(framebuffer: &FrameBuffer) -> Option<&str> {
    Some(&framebuffer.status.as_ref()?.injection.as_ref()?.hash)
}

async fn change(namespace: &TestNamespace, new: &str) -> String {
    let old = namespace.wait(RING, "to have a hash", |found: &FrameBuffer| hash(found).is_some()).await;
    namespace.merge::<FrameBuffer>(RING, &size(new)).await;
    let found = namespace.wait(RING, "to have a new hash", |found: &FrameBuffer| hash(found) != hash(&old)).await;
    hash(&found).unwrap().to_owned()
}

async fn injected(namespace: &TestNamespace) -> Vec<String> {
    let pods: Vec<Pod> = namespace.pods().await;
    pods.iter().map(|pod| pod.metadata.annotations.as_ref().unwrap()[INJECTED_ANNOTATION].clone()).collect()
}

#[test]
fn rolling_restart_rolls_a_deployment_a_statefulset_and_a_daemonset_once() {
    in_namespace(async |namespace| {
        let rolling = json!({"size": "1Mi", "updateStrategy": {"type": "RollingRestart"}});
        namespace.declare(&framebuffer(&rolling)).await;
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            namespace.accept(&workload(kind, &kind.to_lowercase(), &[idle("app")])).await;
        }
        namespace.wait(RING, "to have three ready pods", |found: &FrameBuffer| counts(found) == Some((3, 3, 0))).await;
        let start = std::time::Instant::now();
        let new = change(namespace, "2Mi").await;
        namespace.wait(RING, "to have three new pods", |found: &FrameBuffer| counts(found) == Some((3, 3, 0))).await;
        namespace
            .until("every pod is a new one", async || injected(namespace).await.iter().all(|hash| *hash == new))
            .await;
        measured(&format!(
            "a Deployment, a StatefulSet and a DaemonSet were rolled {:?} after a change",
            start.elapsed()
        ));
        // Longer than the controller waits before it restarts anything.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let generation = async |observed: Option<i64>| assert_eq!(observed, Some(2), "rolled once");
        generation(namespace.api::<Deployment>().get("deployment").await.unwrap().metadata.generation).await;
        generation(namespace.api::<StatefulSet>().get("statefulset").await.unwrap().metadata.generation).await;
        generation(namespace.api::<DaemonSet>().get("daemonset").await.unwrap().metadata.generation).await;
        assert_eq!(namespace.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items.len(), 2);
        assert_eq!(namespace.api::<ControllerRevision>().list(&ListParams::default()).await.unwrap().items.len(), 4);
    });
}

#[test]
fn a_rollout_that_fails_is_not_tried_again() {
    in_namespace(async |namespace| {
        let rolling = json!({"size": "1Mi", "updateStrategy": {"type": "RollingRestart"}});
        namespace.declare(&framebuffer(&rolling)).await;
        // Starts with a ring of 1 MiB only.
        let picky = "size=$(stat -c %s /dev/shm/framebuffer-*); [ $size -lt 3000000 ] || exit 1; sleep 1000";
        let mut deployment = workload("Deployment", "picky", &[script("app", picky)]);
        // A container that fails at once is ready for a moment.
        deployment["spec"]["minReadySeconds"] = json!(3);
        deployment["spec"]["progressDeadlineSeconds"] = json!(10);
        namespace.accept(&deployment).await;
        namespace.wait(RING, "to have a ready pod", |found: &FrameBuffer| counts(found) == Some((1, 1, 0))).await;
        change(namespace, "8Mi").await;
        let failed = |found: &Deployment| {
            let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded"))
        };
        namespace.wait("picky", "to fail its rollout", failed).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let deployment = namespace.api::<Deployment>().get("picky").await.unwrap();
        assert_eq!(deployment.metadata.generation, Some(2), "restarted once");
        // The old pod still serves, and the status says that it is old.
        assert_eq!(deployment.status.unwrap().available_replicas, Some(1));
        namespace
            .wait(RING, "to count an old pod", |found: &FrameBuffer| counts(found).is_some_and(|counts| counts.2 == 1))
            .await;
    });
}

#[test]
fn on_delete_reports_and_waits() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        namespace.accept(&workload("Deployment", "patient", &[idle("app")])).await;
        namespace.wait(RING, "to have a ready pod", |found: &FrameBuffer| counts(found) == Some((1, 1, 0))).await;
        let new = change(namespace, "2Mi").await;
        let waiting = |found: &FrameBuffer| {
            let conditions: Vec<Value> =
                serde_json::from_value(json!(found.status.as_ref().unwrap().conditions)).unwrap();
            conditions.iter().any(|condition| condition["reason"] == "WaitingForDelete")
                && counts(found) == Some((1, 1, 1))
        };
        namespace.wait(RING, "to count an old pod and say that it waits", waiting).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(namespace.api::<Deployment>().get("patient").await.unwrap().metadata.generation, Some(1));
        let pod = namespace.pods().await.remove(0).metadata.name.unwrap();
        namespace.api::<Pod>().delete(&pod, &kube::api::DeleteParams::default()).await.unwrap();
        namespace.wait(RING, "to be up to date", |found: &FrameBuffer| counts(found) == Some((1, 1, 0))).await;
        // The old one may take a while to end.
        namespace.until("only the new pod to be there", async || injected(namespace).await == [new.as_str()]).await;
    });
}
