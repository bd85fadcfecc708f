//! The `status` of a `FrameBuffer`, written by the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PullSecret;

/// Condition type: the spec is valid, and labelled pods that are created now get the ring.
pub const READY: &str = "Ready";

/// Condition type: every labelled pod has the current injection.
pub const UP_TO_DATE: &str = "UpToDate";

/// The status, written by the operator.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameBufferStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: labelled pods that are created now get the ring. UpToDate: every labelled pod has the current injection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Labelled pods that have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,

    /// The content injected into labelled pods. Only the operator may write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injection: Option<Injection>,
}

/// Counts of labelled pods that have not ended.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PodCounts {
    /// Pods with the label.
    #[schemars(range(min = 0))]
    pub matched: i32,

    /// Those of them that are ready.
    #[schemars(range(min = 0))]
    pub ready: i32,

    /// Those of them with an older injection than the current one.
    #[schemars(range(min = 0))]
    pub outdated: i32,
}

/// The content injected into labelled pods.
#[derive(JsonSchema, Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Injection {
    /// Hash of all other fields except the time; also in the annotation framebuffer.dev/injected of pods.
    pub hash: String,

    /// When this content was first rendered.
    pub rendered_at: Time,

    /// Names of the containers that get the mount and the environment; if absent, all containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub containers: Option<Vec<String>>,

    /// The sidecar: the first init container, always restarted.
    #[schemars(schema_with = "any_object")]
    pub sidecar: Value,

    /// The volume with the ring's memory.
    #[schemars(schema_with = "any_object")]
    pub volume: Value,

    /// Its mount in the chosen containers.
    #[schemars(schema_with = "any_object")]
    pub volume_mount: Value,

    /// Environment of the chosen containers.
    #[schemars(schema_with = "any_objects")]
    pub env: Vec<Value>,

    /// Secrets for pulling the sidecar's image, added to those of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub image_pull_secrets: Vec<PullSecret>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn any_objects(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let items = any_object(generator);
    schemars::json_schema!({"type": "array", "items": items, "x-kubernetes-list-type": "atomic"})
}
