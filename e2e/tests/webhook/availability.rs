//! The webhook while the operator is down, changes, or is restarted.

use framebuffer_e2e::manifests::{framebuffer, idle, plain_pod, pod, without_node, workload};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::has_sidecar;
use framebuffer_e2e::operator::{operator_pods, scale, settled};
use framebuffer_e2e::settings::SYSTEM;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use crate::alone;

#[test]
fn while_the_operator_is_down_labelled_pods_are_refused_and_no_other_pod_waits() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        scale(namespace, 0).await;
        let start = std::time::Instant::now();
        for number in 0..10 {
            namespace.accept(&plain_pod(&format!("plain-{number}"), &[idle("app")])).await;
        }
        let took = start.elapsed();
        let message = namespace.reject(&pod("early", &[idle("app")])).await;
        namespace.accept(&workload("Deployment", "waiting", &[idle("app")])).await;
        namespace.ready("plain-9").await;
        let none = namespace.pods().await.iter().all(|pod| !has_sidecar(pod));
        let back = std::time::Instant::now();
        scale(namespace, 2).await;
        // Before anything can fail: the next test needs the operator.
        let available = |found: &Deployment| found.status.as_ref().and_then(|status| status.available_replicas);
        namespace.wait("waiting", "to be available", |found: &Deployment| available(found) == Some(1)).await;
        measured(&format!("10 unlabelled pods with the operator down: created in {took:?}"));
        measured(&format!("a labelled pod available {:?} after the operator was started", back.elapsed()));
        assert!(took.as_secs() < 5, "{took:?}");
        assert!(none, "a labelled pod was let in without the operator");
        assert!(message.contains("failed calling webhook \"inject.framebuffer.dev\""), "{message}");
    });
}

#[test]
fn with_all_replicas_restarted_meanwhile_200_pods_all_get_their_sidecar() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let pods = namespace.api_in::<Pod>(SYSTEM);
        let create = async |name: &str| {
            let mut deployment = workload("Deployment", name, &[idle("app")]);
            deployment["spec"]["replicas"] = json!(100);
            without_node(&mut deployment["spec"]["template"]);
            namespace.accept(&deployment).await;
        };
        create("first").await;
        // At once, in the middle of it, both.
        pods.delete_collection(&DeleteParams::default(), &operator_pods()).await.unwrap();
        create("second").await;
        let start = std::time::Instant::now();
        let all = |found: &Deployment| found.status.as_ref().and_then(|status| status.replicas) == Some(100);
        for name in ["first", "second"] {
            namespace.wait(name, "to have 100 pods", all).await;
        }
        measured(&format!("200 pods there {:?} after both replicas were deleted", start.elapsed()));
        let created = namespace.pods().await;
        assert_eq!(created.len(), 200);
        let without = created.iter().filter(|pod| !has_sidecar(pod)).count();
        assert_eq!(without, 0, "{without} labelled pods have no sidecar");
        settled(namespace, 2).await;
    });
}
