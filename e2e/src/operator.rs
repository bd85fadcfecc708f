//! The operator's replicas.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::namespace::{TestNamespace, wait_in};
use crate::settings::{OPERATOR, SYSTEM};

/// The operator's pods.
pub fn operator_pods() -> ListParams {
    ListParams::default().labels("app.kubernetes.io/name=framebuffer")
}

/// The operator's current pods.
pub async fn operators(namespace: &TestNamespace) -> Vec<Pod> {
    namespace.api_in::<Pod>(SYSTEM).list(&operator_pods()).await.expect("pods can be listed").items
}

/// Scales the operator, and waits until it has settled.
pub async fn scale(namespace: &TestNamespace, replicas: i32) {
    let api = namespace.api_in::<Deployment>(SYSTEM);
    let patch = json!({"spec": {"replicas": replicas}});
    api.patch(OPERATOR, &PatchParams::default(), &Patch::Merge(patch)).await.expect("the API server answers");
    settled(namespace, replicas).await;
}

/// Waits until the operator has exactly `replicas` pods, all ready.
pub async fn settled(namespace: &TestNamespace, replicas: i32) {
    let right = |found: &Deployment| {
        let status = found.status.clone().unwrap_or_default();
        status.ready_replicas.unwrap_or(0) == replicas
            && status.replicas.unwrap_or(0) == replicas
            && status.observed_generation == found.metadata.generation
    };
    wait_in(namespace.api_in::<Deployment>(SYSTEM), OPERATOR, "to have settled", right).await;
    let pods = namespace.api_in::<Pod>(SYSTEM);
    namespace
        .until("no pod of the operator is about to end", async || {
            let found = pods.list(&operator_pods()).await.expect("the API server answers");
            i32::try_from(found.items.len()).is_ok_and(|number| number == replicas)
        })
        .await;
}
