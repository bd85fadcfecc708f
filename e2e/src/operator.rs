//! The operator's replicas.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{OPERATOR, SYSTEM};
use crate::space::{Space, wait_in};

/// The operator's pods.
pub fn operator_pods() -> ListParams {
    ListParams::default().labels("app.kubernetes.io/name=framebuffer")
}

/// The operator's pods as they are now.
pub async fn operators(space: &Space) -> Vec<Pod> {
    space.api_in::<Pod>(SYSTEM).list(&operator_pods()).await.expect("pods can be listed").items
}

/// Changes how many replicas of the operator there are, and waits until it is so.
pub async fn scale(space: &Space, replicas: i32) {
    let api = space.api_in::<Deployment>(SYSTEM);
    let patch = json!({"spec": {"replicas": replicas}});
    api.patch(OPERATOR, &PatchParams::default(), &Patch::Merge(patch)).await.expect("the API server answers");
    settled(space, replicas).await;
}

/// Waits until exactly `replicas` of the operator are there, all ready.
pub async fn settled(space: &Space, replicas: i32) {
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
            let found = pods.list(&operator_pods()).await.expect("the API server answers");
            i32::try_from(found.items.len()).is_ok_and(|number| number == replicas)
        })
        .await;
}
