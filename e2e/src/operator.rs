//! The operator's replicas: which there are, which one leads, and their processes.

use std::fs;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::metrics::measured;
use crate::namespace::{TestNamespace, wait_in};
use crate::program::{output, succeed};
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

/// Who leads.
pub async fn leader(namespace: &TestNamespace) -> Option<String> {
    let lease = namespace.api_in::<Lease>(SYSTEM).get(OPERATOR).await.expect("there is a lease");
    lease.spec.and_then(|lease| lease.holder_identity).filter(|holder| !holder.is_empty())
}

/// The replica that leads. A lease may still name one that is gone.
pub async fn some_leader(namespace: &TestNamespace) -> String {
    let mut found = None;
    let leads = async || {
        let replicas = operators(namespace).await;
        let alive = replicas.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any);
        found = leader(namespace).await.filter(|leader| alive.collect::<Vec<_>>().contains(leader));
        found.is_some()
    };
    namespace.until("a replica leads", leads).await;
    found.expect("it was found")
}

/// The process of an operator's pod, where the node's processes can be seen: on the cluster of `cargo xtask cluster`.
pub fn process_of(pod: &str) -> Option<String> {
    let name = format!("POD_NAME={pod}");
    let is_it = |folder: &Path| {
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == name.as_bytes())
    };
    let mut folders = fs::read_dir("/proc").expect("there is a /proc").flatten().map(|entry| entry.path());
    let process = folders.find(|folder| is_it(folder)).and_then(|folder| Some(folder.file_name()?.to_owned()));
    if process.is_none() {
        measured("not tested: a replica's process; the processes of this cluster's nodes can't be seen from here");
    }
    process.map(|process| process.to_string_lossy().into_owned())
}

/// A stopped process that goes on when this is dropped.
#[derive(Debug)]
pub struct Stopped(String);

impl Stopped {
    /// Stops a process.
    pub fn stop(process: String) -> Self {
        succeed("kill", &["-STOP", &process]);
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        output("kill", &["-CONT", &self.0]);
    }
}
