//! The custom resource `FrameBuffer`, `framebuffer.dev/v1alpha1`: the spec, written by users. The operator writes the
//! [`status`].
//!
//! The API server enforces the rules here. [`crate::validate`] repeats them, because an object may be older than a
//! rule.

#![allow(clippy::doc_markdown, reason = "kubectl explain shows the descriptions, which are not Markdown")]
#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]

pub mod status;

use framebuffer_contract::defaults;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use framebuffer_contract::kubernetes::{INJECT_LABEL, INJECTED_ANNOTATION, RESTARTED_ANNOTATION};
pub use status::FrameBufferStatus;

/// The maximum length of the name of a `FrameBuffer`, in bytes: pods name it in a label.
pub const MAX_NAME: usize = 63;

/// The maximum length of the name of a Secret, in bytes.
pub const MAX_SECRET: usize = 253;

/// Size of the smallest ring, in bytes.
pub const MIN_SIZE: u64 = 64 << 10;

/// Size of the largest ring, in bytes.
pub const MAX_SIZE: u64 = 1 << 40;

/// The lowest port of the sidecar: it has no privileges.
pub const MIN_PORT: u16 = 1024;

/// A ring in shared memory for the containers of a pod. Pods ask for it with the label framebuffer.dev/inject.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "framebuffer.dev",
    version = "v1alpha1",
    kind = "FrameBuffer",
    namespaced,
    status = "FrameBufferStatus",
    derive = "PartialEq",
    shortname = "fb",
    doc = "A ring in shared memory for the containers of a pod. Pods ask for it with the label framebuffer.dev/inject.",
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name must be at most 63 characters long: pods name it in a label"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.size", description = "Payload that the ring keeps"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Matched",
        type_ = "integer",
        json_path = ".status.pods.matched",
        description = "Pods with the label"
    ),
    printcolumn(name = "Ready pods", type_ = "integer", json_path = ".status.pods.ready"),
    printcolumn(
        name = "Outdated",
        type_ = "integer",
        json_path = ".status.pods.outdated",
        description = "Pods with an older injection than the current one"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct FrameBufferSpec {
    /// Payload that the ring keeps, in bytes, from 64Ki to 1Ti. Examples: 500Mi, 1.5Gi.
    #[schemars(length(max = 24), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    #[x_kube(validation = Rule::new(
        "quantity(self).compareTo(quantity('64Ki')) >= 0 && quantity(self).compareTo(quantity('1Ti')) <= 0"
    )
    .message("size must be from 64Ki to 1Ti"))]
    pub size: String,

    /// How much of the ring is in use while nobody holds frames: whole (the default), auto (what stays in the last
    /// cache of the node's processor), or an amount as for size. A smaller window is faster; frames that nobody holds
    /// stay for fewer bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(max = 24),
        regex(pattern = r"^(whole|auto|[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?)$")
    )]
    pub window: Option<String>,

    /// Names of the containers that get the ring: its mount and its environment. By default all containers of the pod
    /// except init containers; an init container gets the ring if it is listed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub containers: Option<Vec<String>>,

    /// Path at which the ring's memory is mounted in these containers and in the sidecar.
    #[serde(default = "default_mount_path")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[A-Za-z0-9._-]+)+$"))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..' || part == '.')")
        .message("mountPath must not contain `.` or `..` as a part"))]
    #[x_kube(validation = Rule::new(
        "!['/dev', '/proc', '/sys'].exists(path, self == path) && !self.startsWith('/proc/') && \
         !self.startsWith('/sys/')"
    )
    .message("mountPath must not hide /dev, /proc or /sys"))]
    pub mount_path: String,

    /// The sidecar that owns the ring. Its image is a setting of the operator.
    #[serde(default)]
    pub sidecar: SidecarSpec,

    /// Secrets in the namespace of the pods for pulling the sidecar's image. They are added to those of the pod and to
    /// those that the operator is set to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub image_pull_secrets: Vec<PullSecret>,

    /// How pods with an older injection than the current one are updated.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
}

/// A Secret for pulling an image.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct PullSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// The sidecar that owns the ring.
#[derive(KubeSchema, Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.port != self.adminPort")
    .message("sidecar.port and sidecar.adminPort must differ"))]
pub struct SidecarSpec {
    /// Port of the API, on the pod's loopback address. At least 1024.
    #[serde(default = "default_port")]
    #[schemars(with = "i32", range(min = 1024, max = 65535))]
    pub port: u16,

    /// Port of health and metrics, on the pod's address. At least 1024.
    #[serde(default = "default_admin_port")]
    #[schemars(with = "i32", range(min = 1024, max = 65535))]
    pub admin_port: u16,

    /// Requests and limits that replace the computed ones. Memory must hold the ring, which is charged to the sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<SidecarResources>,

    /// The sidecar's log level.
    #[serde(default)]
    pub log_level: LogLevel,
}

/// Requests and limits of the sidecar.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct SidecarResources {
    /// Amounts that the scheduler reserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,

    /// Maximum amounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of CPU and memory.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ResourceAmounts {
    /// CPU. Examples: 100m, 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^[0-9]+(\.[0-9]{1,3}|m)?$"))]
    pub cpu: Option<String>,

    /// Memory. Example: 600Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub memory: Option<String>,
}

/// A log level of the sidecar.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The value for the sidecar's environment.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How pods with an older injection than the current one are updated.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct UpdateStrategy {
    /// OnDelete only reports them. RollingRestart restarts their Deployment, StatefulSet or DaemonSet, once for each
    /// change.
    #[serde(rename = "type", default)]
    pub kind: UpdateKind,
}

/// A kind of update strategy.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[schemars(inline)]
#[allow(missing_docs, reason = "documented where it is used")]
pub enum UpdateKind {
    #[default]
    OnDelete,
    RollingRestart,
}

impl Default for SidecarSpec {
    fn default() -> Self {
        Self { port: default_port(), admin_port: default_admin_port(), resources: None, log_level: LogLevel::default() }
    }
}

fn default_mount_path() -> String {
    defaults::DIR.to_owned()
}

const fn default_port() -> u16 {
    defaults::PORT
}

const fn default_admin_port() -> u16 {
    defaults::ADMIN_PORT
}
