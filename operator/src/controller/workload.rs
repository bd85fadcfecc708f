//! [`Workload`]: a Deployment, `StatefulSet` or `DaemonSet`: which one a pod belongs to, what keeps it from rolling,
//! and how far its rollout is. What it says about itself is read here and nowhere else.

use std::fmt;

use framebuffer_contract::kubernetes::RESTARTED_ANNOTATION;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::error::Error;
use super::pods::Owner;

const APPS: &str = "apps/v1";

/// A workload that has a pod template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Workload {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Rolling,
    Complete,
    /// As far as the workload lets it: pods with a number below this are kept.
    Partial(i64),
    /// It makes no progress, as the workload itself says.
    Stuck,
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name)
    }
}

impl Workload {
    /// Its objects.
    pub(super) fn api(&self, client: &Client) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", self.kind));
        Api::namespaced_with(client.clone(), &self.namespace, &resource)
    }

    /// Why a new template would replace no pod, with the remedy; `None` if it would.
    pub(super) fn hindrance(&self, object: &Value) -> Option<String> {
        let Self { kind, namespace, name } = self;
        if object["spec"]["paused"].as_bool() == Some(true) {
            let resume = format!("`kubectl -n {namespace} rollout resume deployment {name}`");
            return Some(format!("{kind} {name} is paused: {resume}"));
        }
        (object["spec"]["updateStrategy"]["type"] == "OnDelete").then(|| {
            format!("{kind} {name} replaces its pods only when they are deleted (its updateStrategy is OnDelete)")
        })
    }

    /// How many of its pods have the current template.
    pub(super) fn updated(&self, object: &Value) -> i64 {
        let field = if self.kind == "DaemonSet" { "updatedNumberScheduled" } else { "updatedReplicas" };
        object["status"][field].as_i64().unwrap_or(0)
    }

    /// How far the rollout of its current template is.
    pub(super) fn progress(&self, object: &Value) -> Progress {
        let (spec, status) = (&object["spec"], &object["status"]);
        let number = |value: &Value| value.as_i64();
        let count = |name: &str| number(&status[name]).unwrap_or(0);
        if number(&status["observedGeneration"]) < number(&object["metadata"]["generation"]) {
            return Progress::Rolling;
        }
        let wanted = number(&spec["replicas"]).unwrap_or(1);
        let partition = number(&spec["updateStrategy"]["rollingUpdate"]["partition"]).unwrap_or(0);
        let updated = self.updated(object);
        let complete = match self.kind {
            "DaemonSet" => {
                let wanted = count("desiredNumberScheduled");
                updated >= wanted && count("numberAvailable") >= wanted
            }
            "StatefulSet" => updated >= wanted.saturating_sub(partition).max(0) && count("availableReplicas") >= wanted,
            _ => updated >= wanted && count("replicas") <= updated && count("availableReplicas") >= updated,
        };
        match complete {
            true if self.kind == "StatefulSet" && partition > 0 => Progress::Partial(partition),
            true => Progress::Complete,
            false if gave_up(status) => Progress::Stuck,
            false => Progress::Rolling,
        }
    }
}

/// Whether a Deployment's `progressDeadlineSeconds` have passed.
fn gave_up(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["reason"] == "ProgressDeadlineExceeded")
}

/// The metadata of an object's pod template.
pub(super) fn template(object: &Value) -> &Value {
    &object["spec"]["template"]["metadata"]
}

/// Whether the operator has restarted a workload, for whatever change, and nobody has taken that back.
pub(super) fn is_restarted(workload: &Value) -> bool {
    template(workload)["annotations"][RESTARTED_ANNOTATION].is_string()
}

/// The workload that has the template of an owner's pods; `Err` with the title of an owner that the operator cannot
/// restart.
pub(super) async fn of_owner(
    owner: &Owner,
    namespace: &str,
    client: &Client,
) -> Result<Result<Workload, String>, Error> {
    let title = format!("{} {}", owner.kind, owner.name);
    let workload = |kind, name: &str| Workload { kind, namespace: namespace.to_owned(), name: name.to_owned() };
    match (&*owner.api_version, &*owner.kind) {
        (APPS, "StatefulSet") => Ok(Ok(workload("StatefulSet", &owner.name))),
        (APPS, "DaemonSet") => Ok(Ok(workload("DaemonSet", &owner.name))),
        (APPS, "ReplicaSet") => {
            let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
            let found = api.get_metadata_opt(&owner.name).await;
            let found = found.map_err(|source| Error::Restart { owner: title.clone(), source })?;
            let owners = found.iter().flat_map(ResourceExt::owner_references);
            let deployment = owners.into_iter().find(|owner| owner.controller == Some(true));
            Ok(match deployment {
                Some(owner) if owner.api_version == APPS && owner.kind == "Deployment" => {
                    Ok(workload("Deployment", &owner.name))
                }
                Some(owner) => Err(format!("{} {}", owner.kind, owner.name)),
                None => Err(title),
            })
        }
        _ => Ok(Err(title)),
    }
}

#[cfg(test)]
mod tests;
