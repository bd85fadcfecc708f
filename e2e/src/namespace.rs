//! [`TestNamespace`]: the namespace of one test, and operations in it.

use std::fmt::Debug;
use std::time::Duration;

use framebuffer_contract::kubernetes::SIDECAR;
use framebuffer_operator::api::{FrameBuffer, status::READY};
use framebuffer_operator::injector::Injector;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{DeleteParams, DynamicObject, ListParams, LogParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::program::{kubectl, output};
use crate::settings::injector;

/// How long a condition may take to become true: twenty times as long as on an idle machine with two cores.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A namespace that belongs to one test.
pub struct TestNamespace {
    /// A client of the API server, as an administrator.
    pub client: Client,
    /// The namespace's name.
    pub name: String,
}

impl TestNamespace {
    /// Creates a namespace with these labels, ready for pods.
    pub(crate) async fn create(client: Client, labels: &[(&str, &str)]) -> Self {
        let api: Api<Namespace> = Api::all(client.clone());
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let metadata = ObjectMeta {
            generate_name: Some(format!("e2e-{}-", short_name())),
            labels: Some(labels.collect()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let created = api.create(&PostParams::default(), &namespace).await.expect("a namespace can be created");
        let namespace = Self { client, name: created.name_any() };
        // Without it no pod is admitted.
        namespace.wait("default", "to exist", |_: &ServiceAccount| true).await;
        namespace
    }

    /// Deletes the namespace without waiting for its end.
    pub(crate) async fn delete(&self) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(&self.name, &DeleteParams::default()).await.expect("the namespace can be deleted");
    }

    /// The objects of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// The objects of a kind in another namespace.
    pub fn api_in<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The objects of a cluster-scoped kind.
    pub fn api_all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope>,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }

    /// Asks the API server to create an object of any kind. It is sent untyped, so that no field is lost.
    ///
    /// # Errors
    ///
    /// The API server's answer, if it refuses.
    pub async fn try_create(&self, manifest: &Value) -> Result<Value, kube::Error> {
        self.post(manifest, &PostParams::default()).await
    }

    /// The object that would be created, after all admission and defaults.
    ///
    /// # Errors
    ///
    /// The API server's answer, if it refuses.
    pub async fn try_dry(&self, manifest: &Value) -> Result<Value, kube::Error> {
        self.post(manifest, &PostParams { dry_run: true, field_manager: None }).await
    }

    async fn post(&self, manifest: &Value, parameters: &PostParams) -> Result<Value, kube::Error> {
        let (object, resource) = untyped(manifest);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.name, &resource);
        let created = api.create(parameters, &object).await?;
        Ok(serde_json::to_value(created).expect("an object can be written as JSON"))
    }

    /// Creates a cluster-scoped object; the test has to delete it.
    pub async fn accept_in_cluster(&self, manifest: &Value) {
        let (object, resource) = untyped(manifest);
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let created = api.create(&PostParams::default(), &object).await;
        created.unwrap_or_else(|error| panic!("{error} was the answer to {manifest:#}"));
    }

    /// Deletes a cluster-scoped object.
    pub async fn delete_in_cluster(&self, manifest: &Value) {
        let (object, resource) = untyped(manifest);
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        api.delete(&object.name_any(), &DeleteParams::default()).await.expect("the object can be deleted");
    }

    /// Creates an object that must be accepted.
    pub async fn accept(&self, manifest: &Value) -> Value {
        self.try_create(manifest).await.unwrap_or_else(|error| panic!("{error} was the answer to {manifest:#}"))
    }

    /// Creates a `FrameBuffer`, and waits until labelled pods can use it: at once in webhook mode, once it is rendered
    /// and bound in policy mode. An invalid one is waited for until its status says so.
    pub async fn declare(&self, framebuffer: &Value) {
        self.accept(framebuffer).await;
        if injector() == Injector::Webhook {
            return;
        }
        let name = framebuffer["metadata"]["name"].as_str().expect("a FrameBuffer has a name");
        let known = |found: &FrameBuffer| {
            let conditions = found.status.iter().flat_map(|status| &status.conditions);
            conditions
                .into_iter()
                .any(|ready| ready.type_ == READY && (ready.status == "True" || ready.reason == "InvalidSpec"))
        };
        self.wait(name, "to be ready", known).await;
    }

    /// Creates an object that must be refused; returns the message.
    pub async fn reject(&self, manifest: &Value) -> String {
        refusal(self.try_create(manifest).await, manifest)
    }

    /// Merges `patch` into an object.
    pub async fn merge<K>(&self, name: &str, patch: &Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let merged = self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        merged.expect("the patch is good")
    }

    /// Waits until a condition holds for an object.
    pub async fn wait<K>(&self, name: &str, what: &str, until: impl Fn(&K) -> bool + Send) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
    {
        wait_in(self.api(), name, what, until).await
    }

    /// Waits until a pod is ready.
    pub async fn ready(&self, name: &str) -> Pod {
        self.wait(name, "to be ready", is_ready).await
    }

    /// Waits until a pod has ended successfully.
    pub async fn succeeded(&self, name: &str) -> Pod {
        let ended = |pod: &Pod| ["Succeeded", "Failed"].contains(&phase(pod));
        let pod = self.wait(name, "to end", ended).await;
        assert_eq!(phase(&pod), "Succeeded", "{:#?}", pod.status);
        pod
    }

    /// Waits until a condition holds for a container's log; returns the whole log.
    pub async fn logged(&self, pod: &str, container: &str, what: impl Fn(&str) -> bool) -> String {
        let wait = async {
            loop {
                // Before its container has started there is no log.
                let log = self.try_log(pod, container).await.unwrap_or_default();
                if what(&log) {
                    return log;
                }
                // The API server has no watch for logs.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("the log of {container} in {pod} has not said what it should"))
    }

    /// The log of a container.
    pub async fn log(&self, pod: &str, container: &str) -> String {
        self.try_log(pod, container).await.expect("the container has a log")
    }

    async fn try_log(&self, pod: &str, container: &str) -> Result<String, kube::Error> {
        let parameters = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        self.api::<Pod>().logs(pod, &parameters).await
    }

    /// Runs a command in a container; returns its standard output.
    pub fn exec(&self, pod: &str, container: &str, command: &[&str]) -> String {
        kubectl(&[&["-n", &self.name, "exec", pod, "-c", container, "--"], command].concat())
    }

    /// Kills a container's first process from a container that shares its process namespace, found by its program.
    pub fn kill(&self, pod: &str, from: &str, program: &str) {
        // Not by `pkill`, which would find this shell as well.
        let script = format!("kill -9 $(pidof {program})");
        self.exec(pod, from, &["/bin/sh", "-c", &script]);
    }

    /// Polls a condition that cannot be watched, until it holds.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let wait = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"));
    }

    /// The pods of this namespace.
    pub async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default()).await.expect("pods can be listed").items
    }

    /// Prints objects, events and logs, for a test that has failed.
    pub(crate) async fn report(&self) {
        let said = |arguments: &[&str]| {
            let output = output("kubectl", &[&["-n", &self.name], arguments].concat());
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        println!("--- {}: objects\n{}", self.name, said(&["get", "all,framebuffers", "-o", "wide"]));
        println!("--- {}: events\n{}", self.name, said(&["get", "events", "--sort-by=.lastTimestamp"]));
        // A few of thousands of pods are enough.
        for pod in self.pods().await.iter().filter(|pod| phase(pod) != "Pending").take(5) {
            let name = pod.name_any();
            println!("--- {name}: logs\n{}", said(&["logs", &name, "--all-containers", "--prefix", "--tail=20"]));
        }
    }
}

/// A manifest as an untyped object, and its resource.
fn untyped(manifest: &Value) -> (DynamicObject, ApiResource) {
    let object: DynamicObject = serde_json::from_value(manifest.clone()).expect("this is a manifest");
    let types = object.types.as_ref().expect("the manifest has a kind");
    let kind = GroupVersionKind::try_from(types).expect("the manifest has an apiVersion");
    (object, ApiResource::from_gvk(&kind))
}

/// Waits until a condition holds for an object.
pub async fn wait_in<K>(api: Api<K>, name: &str, what: &str, until: impl Fn(&K) -> bool + Send) -> K
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let condition = await_condition(api.clone(), name, move |object: Option<&K>| object.is_some_and(&until));
    let Ok(waited) = timeout(PATIENCE, condition).await else {
        panic!("waited {PATIENCE:?} in vain for {name} {what}: {:#?}", api.get_opt(name).await)
    };
    waited.expect("a watch does not end").expect("the condition is false for no object")
}

/// The message of a refusal.
pub fn refusal(result: Result<Value, kube::Error>, manifest: &Value) -> String {
    match result {
        Err(kube::Error::Api(status)) => status.message.clone(),
        Err(error) => panic!("{error} was the answer to {manifest:#}"),
        Ok(created) => panic!("accepted: {created:#}"),
    }
}

/// The pod's phase.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether the pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// How often a container, or an init container, has been restarted.
pub fn restarts(pod: &Pod, container: &str) -> i32 {
    let status = pod.status.as_ref().expect("the pod has a status");
    let mut all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.find(|found| found.name == container).expect("the container has a status").restart_count
}

/// Whether the pod has the sidecar.
pub fn has_sidecar(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.into_iter().any(|container| container.name == SIDECAR)
}

/// A merge patch that changes the size of a `FrameBuffer`.
pub fn size(size: &str) -> Value {
    json!({"spec": {"size": size}})
}

/// The name of the running test, shortened for a namespace's name.
fn short_name() -> String {
    let thread = std::thread::current();
    let test = thread.name().and_then(|name| name.rsplit("::").next()).unwrap_or("test");
    let name: String = test.replace('_', "-").chars().take(40).collect();
    name.trim_matches('-').to_owned()
}
