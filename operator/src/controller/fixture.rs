//! A controller in front of an API server of its own, for the tests of this module.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::context::Context;
use super::pace::Pace;
use super::reconcile::reconcile_at;
use super::*;
use crate::injector::Readiness;
use crate::render::Settings;
use crate::testing::{Asked, FakeApi, framebuffer};

pub(super) const NOW: &str = "2030-01-01T00:00:00Z";
const RING: &str = "/apis/framebuffer.dev/v1alpha1/namespaces/video/framebuffers/ring/status";

pub(super) struct Fixture {
    pub(super) api: FakeApi,
    pub(super) cluster: Arc<Cluster>,
    pub(super) context: Arc<Context>,
    pub(super) framebuffer: crate::api::FrameBuffer,
    pub(super) now: Timestamp,
}

impl Fixture {
    pub(super) fn new(strategy: &str, template: Value) -> Self {
        let api = FakeApi::default();
        let cluster = Arc::new(Cluster { template, ..Cluster::default() });
        let answers = Arc::clone(&cluster);
        let client = api.client(move |(method, uri, body)| answers.answer(method, uri, body));
        let settings = Settings { sidecar_image: "sidecar:1".to_owned(), ..Settings::default() };
        let (_sender, readiness) = watch::channel(Some(Readiness::Ready));
        let context = Context::new(client, settings, "me", readiness, Arc::default());
        let spec = json!({"size": "1Mi", "updateStrategy": {"type": strategy}});
        Self { api, cluster, context: Arc::new(context), framebuffer: framebuffer(spec), now: NOW.parse().unwrap() }
    }

    pub(super) fn pod(&self, name: &str, owner: Option<(&str, &str)>) {
        self.pod_of(name, owner.map(|(api_version, kind)| (api_version, kind, "web-1")), "2020-01-01T00:00:00Z");
    }

    pub(super) fn pod_of(&self, name: &str, owner: Option<(&str, &str, &str)>, created: &str) {
        self.labelled_pod(name, "ring", owner, created);
    }

    pub(super) fn labelled_pod(&self, name: &str, ring: &str, owner: Option<(&str, &str, &str)>, created: &str) {
        let owners = owner.map(|(api_version, kind, owner)| {
            json!([{"apiVersion": api_version, "kind": kind, "name": owner, "uid": owner, "controller": true}])
        });
        let pod = json!({
            "metadata": {
                "name": name,
                "namespace": "video",
                "labels": {"framebuffer.dev/inject": ring},
                "annotations": {"framebuffer.dev/injected": "old"},
                "ownerReferences": owners,
                "creationTimestamp": created,
            },
            "spec": {},
        });
        self.context.pods.lock().unwrap().apply(Event::Apply(serde_json::from_value(pod).unwrap()));
    }

    /// Reason and message of `UpToDate`, as last written.
    pub(super) fn up_to_date(&self) -> (String, String) {
        let status = self.statuses().pop().unwrap();
        let text = |field: &str| status["conditions"][1][field].as_str().unwrap().to_owned();
        (text("reason"), text("message"))
    }

    /// Reconciles a while later, and shows what was written.
    pub(super) async fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.reconcile().await;
        self.show();
    }

    pub(super) async fn reconcile(&self) -> Option<Duration> {
        self.try_reconcile().await.unwrap()
    }

    pub(super) async fn try_reconcile(&self) -> Result<Option<Duration>, Error> {
        reconcile_at(&Watched::from(self.framebuffer.clone()), &self.context, self.now).await
    }

    /// Lets the next reconciliation find what the last one wrote.
    pub(super) fn show(&mut self) {
        let status = self.statuses().pop().unwrap();
        self.edit(status);
    }

    /// Lets the next reconciliation find this status, whoever wrote it.
    pub(super) fn edit(&mut self, status: Value) {
        self.framebuffer.status = Some(serde_json::from_value(status).unwrap());
        let version = self.framebuffer.metadata.resource_version.get_or_insert_default();
        *version = (version.parse().unwrap_or(0) + 1).to_string();
    }

    /// Writes a status, and lets the time pass in which the change settles.
    pub(super) async fn settle(&mut self) {
        self.reconcile().await;
        self.show();
        self.now += restart::SETTLE * 2;
    }

    pub(super) fn written(&self) -> Vec<Asked> {
        self.api.asked().into_iter().filter(|(method, uri, _)| method == "PATCH" && uri.starts_with(RING)).collect()
    }

    /// The statuses that were written.
    pub(super) fn statuses(&self) -> Vec<Value> {
        self.written().into_iter().map(|(_, _, body)| body[1]["value"].clone()).collect()
    }

    /// The reasons of the events that were sent.
    pub(super) fn events(&self) -> Vec<String> {
        let reason =
            |(_, uri, body): &Asked| uri.contains("/events").then(|| body["reason"].as_str().map(str::to_owned));
        self.api.asked().iter().filter_map(reason).flatten().collect()
    }

    /// Another replica becomes the leader, which knows the pods only, and has this pace.
    pub(super) fn another_leader(&mut self, pace: Pace) {
        let Context { client, settings, readiness, metrics, .. } = &*self.context;
        let mut context =
            Context::new(client.clone(), settings.clone(), "other", readiness.clone(), Arc::clone(metrics));
        context.pods = Mutex::new(std::mem::take(&mut *self.context.pods.lock().unwrap()));
        context.pace = Mutex::new(pace);
        self.context = Arc::new(context);
    }

    pub(super) fn restarts(&self) -> Vec<Asked> {
        self.api.asked().into_iter().filter(|(method, uri, _)| method == "PATCH" && uri.contains("/apps/")).collect()
    }
}

/// Workloads, by their paths. Each exists as soon as it is asked for, with one pod that is new and available.
#[derive(Default)]
pub(super) struct Cluster {
    template: Value,
    workloads: Mutex<HashMap<String, Value>>,
    /// How often the status was written: `write-1` is the resource version of the first.
    writes: Mutex<u32>,
}

impl Cluster {
    /// Changes a workload.
    pub(super) fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut workloads = self.workloads.lock().unwrap();
        let new = || {
            json!({
                "apiVersion": "apps/v1", "kind": "Workload", "metadata": {"name": "w", "generation": 1},
                "spec": {"replicas": 1, "template": {"metadata": self.template}},
                "status": rolled(1),
            })
        };
        change(workloads.entry(path.to_owned()).or_insert_with(new));
    }

    fn get(&self, path: &str) -> Value {
        let mut found = Value::Null;
        self.edit(path, |workload| found = workload.clone());
        found
    }

    /// Ends the rollout of a workload.
    pub(super) fn finish(&self, path: &str) {
        self.edit(path, |workload| {
            let generation = workload["metadata"]["generation"].as_i64().unwrap();
            workload["status"] = rolled(generation);
        });
    }

    pub(super) fn answer(&self, method: &str, uri: &str, body: &Value) -> Option<Value> {
        let path = uri.split('?').next().unwrap_or_default();
        let workload = path.strip_prefix("/apis/apps/v1/namespaces/video/");
        match (method, path, workload) {
            ("PATCH", RING, _) => {
                let mut object = serde_json::to_value(framebuffer(json!({"size": "1Mi"}))).unwrap();
                object["status"] = body[1]["value"].clone();
                let mut writes = self.writes.lock().unwrap();
                *writes += 1;
                object["metadata"]["resourceVersion"] = json!(format!("write-{writes}"));
                Some(object)
            }
            ("GET", _, _) if path.contains("/framebuffers/") && !path.ends_with("/gone") => {
                let kind = "PartialObjectMetadata";
                Some(json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": {"name": "any"}}))
            }
            ("GET", _, Some(workload)) if workload.starts_with("replicasets/") => {
                let name = workload.trim_start_matches("replicasets/").trim_end_matches("-1");
                let (api_version, kind) = ("apps/v1", "Deployment");
                let owner =
                    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": "d", "controller": true});
                let metadata = json!({"name": format!("{name}-1"), "ownerReferences": [owner]});
                let kind = "PartialObjectMetadata";
                Some(json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": metadata}))
            }
            ("GET", _, Some(_)) => Some(self.get(path)),
            ("PATCH", _, Some(_)) => {
                self.edit(path, |workload| {
                    let patch = &body["spec"]["template"]["metadata"]["annotations"];
                    workload["spec"]["template"]["metadata"]["annotations"] = patch.clone();
                    let generation = workload["metadata"]["generation"].as_i64().unwrap();
                    workload["metadata"]["generation"] = json!(generation + 1);
                });
                Some(self.get(path))
            }
            ("POST", _, _) if path.contains("/events") => Some(body.clone()),
            _ => None,
        }
    }
}

/// The status of a workload whose rollout is over.
fn rolled(generation: i64) -> Value {
    json!({
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
        "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1,
    })
}

pub(super) fn labelled() -> Value {
    json!({"labels": {"framebuffer.dev/inject": "ring"}})
}
