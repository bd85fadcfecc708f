//! The webhook while the operator is down, changes, or is restarted.

use framebuffer_e2e::cluster::{OPERATOR, SYSTEM};
use framebuffer_e2e::numbers::measured;
use framebuffer_e2e::objects::{framebuffer, idle, plain_pod, pod, without_node, workload};
use framebuffer_e2e::space::{has_sidecar, wait_in};
use framebuffer_e2e::{Space, alone};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

/// Changes how many replicas of the operator there are, and waits until it is so.
pub(crate) async fn scale(space: &Space, replicas: i32) {
    let api = space.api_in::<Deployment>(SYSTEM);
    let patch = json!({"spec": {"replicas": replicas}});
    api.patch(OPERATOR, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    settled(space, replicas).await;
}

/// Waits until exactly `replicas` of the operator are there, all ready.
pub(crate) async fn settled(space: &Space, replicas: i32) {
    let right = |found: &Deployment| {
        let status = found.status.clone().unwrap_or_default();
        status.ready_replicas.unwrap_or(0) == replicas
            && status.replicas.unwrap_or(0) == replicas
            && status.observed_generation == found.metadata.generation
    };
    wait_in(space.api_in::<Deployment>(SYSTEM), OPERATOR, "to have settled", right).await;
    let pods = space.api_in::<Pod>(SYSTEM);
    space
        .until("no pod of the operator is about to end", async || {
            let found = pods.list(&operator_pods()).await.unwrap();
            i32::try_from(found.items.len()).unwrap() == replicas
        })
        .await;
}

/// The operator's pods.
pub(crate) fn operator_pods() -> ListParams {
    ListParams::default().labels("app.kubernetes.io/name=framebuffer")
}

/// Who leads.
pub(crate) async fn leader(space: &Space) -> Option<String> {
    let lease = space.api_in::<Lease>(SYSTEM).get(OPERATOR).await.unwrap();
    lease.spec.unwrap().holder_identity.filter(|holder| !holder.is_empty())
}

#[test]
fn while_the_operator_is_down_labelled_pods_are_refused_and_no_other_pod_waits() {
    alone(async |space| {
        space.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        scale(space, 0).await;
        let start = std::time::Instant::now();
        for number in 0..10 {
            space.accept(&plain_pod(&format!("plain-{number}"), &[idle("app")])).await;
        }
        let took = start.elapsed();
        let message = space.reject(&pod("early", &[idle("app")])).await;
        space.accept(&workload("Deployment", "waiting", &[idle("app")])).await;
        space.ready("plain-9").await;
        let none = space.pods().await.iter().all(|pod| !has_sidecar(pod));
        let back = std::time::Instant::now();
        scale(space, 2).await;
        // Before anything can fail: the next test needs the operator.
        let available = |found: &Deployment| found.status.as_ref().and_then(|status| status.available_replicas);
        space.wait("waiting", "to be available", |found: &Deployment| available(found) == Some(1)).await;
        measured(&format!("10 unlabelled pods with the operator down: created in {took:?}"));
        measured(&format!("a labelled pod available {:?} after the operator was started", back.elapsed()));
        assert!(took.as_secs() < 5, "{took:?}");
        assert!(none, "a labelled pod was let in without the operator");
        assert!(message.contains("failed calling webhook \"inject.framebuffer.dev\""), "{message}");
    });
}

#[test]
fn when_the_leader_is_deleted_the_other_replica_takes_over() {
    alone(async |space| {
        space.until("somebody leads", async || leader(space).await.is_some()).await;
        let old = leader(space).await.unwrap();
        let start = std::time::Instant::now();
        let pods = space.api_in::<Pod>(SYSTEM);
        let killed = pods.delete(&old, &DeleteParams::default().grace_period(0)).await;
        killed.unwrap_or_else(|error| panic!("{old}: {error}"));
        // Admission never stops: the other replica serves.
        space.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        space.until("another one leads", async || leader(space).await.is_some_and(|new| new != old)).await;
        measured(&format!("another leader after {:?}", start.elapsed()));
        settled(space, 2).await;
        // The new leader does a leader's work.
        let ready = |found: &framebuffer_operator::api::FrameBuffer| found.status.is_some();
        space.wait("frames", "to have a status", ready).await;
    });
}

/// The process of an operator's pod, where the node's processes can be seen: on the cluster of `cargo xtask cluster`.
fn process_of(pod: &str) -> Option<String> {
    let name = format!("POD_NAME={pod}");
    let is_it = |folder: &std::path::Path| {
        let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
    };
    let mut folders = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    folders.find(|folder| is_it(folder)).map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned())
}

#[test]
fn a_leader_that_is_killed_and_cannot_give_its_lease_back_is_replaced_or_comes_back() {
    alone(async |space| {
        space.until("somebody leads", async || leader(space).await.is_some()).await;
        let old = leader(space).await.unwrap();
        let Some(process) = process_of(&old) else {
            measured("not tested: a killed leader; the processes of this cluster's nodes can't be seen from here");
            return;
        };
        let lease = async || space.api_in::<Lease>(SYSTEM).get(OPERATOR).await.unwrap().spec.unwrap();
        let before = lease().await.renew_time;
        let start = std::time::Instant::now();
        framebuffer_e2e::program::succeed("kill", &["-9", &process]);
        space.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        space.try_dry(&pod("meanwhile", &[idle("app")])).await.unwrap();
        let reported = |found: &framebuffer_operator::api::FrameBuffer| found.status.is_some();
        space.wait("frames", "to have a status", reported).await;
        let after = lease().await;
        measured(&format!(
            "after the leader was killed its work went on after {:?}, by {}",
            start.elapsed(),
            if after.holder_identity.as_deref() == Some(&old) { "itself, restarted" } else { "the other" }
        ));
        assert!(after.renew_time > before);
        settled(space, 2).await;
    });
}

#[test]
fn with_all_replicas_restarted_meanwhile_200_pods_all_get_their_sidecar() {
    alone(async |space| {
        space.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        let pods = space.api_in::<Pod>(SYSTEM);
        let create = async |name: &str| {
            let mut deployment = workload("Deployment", name, &[idle("app")]);
            deployment["spec"]["replicas"] = json!(100);
            without_node(&mut deployment["spec"]["template"]);
            space.accept(&deployment).await;
        };
        create("first").await;
        // At once, in the middle of it, both.
        pods.delete_collection(&DeleteParams::default(), &operator_pods()).await.unwrap();
        create("second").await;
        let start = std::time::Instant::now();
        let all = |found: &Deployment| found.status.as_ref().and_then(|status| status.replicas) == Some(100);
        for name in ["first", "second"] {
            space.wait(name, "to have 100 pods", all).await;
        }
        measured(&format!("200 pods there {:?} after both replicas were deleted", start.elapsed()));
        let created = space.pods().await;
        assert_eq!(created.len(), 200);
        let without = created.iter().filter(|pod| !has_sidecar(pod)).count();
        assert_eq!(without, 0, "{without} labelled pods have no sidecar");
        settled(space, 2).await;
    });
}
