//! The custom resource `FrameBuffer`, `framebuffer.dev/v1alpha1`: what a user writes. What the operator answers is in
//! [`status`].
//!
//! The rules here are the API server's first look at a manifest. [`crate::validate`] repeats them, because an object may
//! be older than the rules.

#![allow(clippy::doc_markdown, reason = "the descriptions are shown by kubectl explain, which knows no Markdown")]
#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]

pub mod status;

use framebuffer_contract::defaults;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use framebuffer_contract::kubernetes::{INJECT_LABEL, INJECTED_ANNOTATION, RESTARTED_ANNOTATION};
pub use status::FrameBufferStatus;

/// The longest name of a `FrameBuffer`, in bytes: pods name it in a label.
pub const MAX_NAME: usize = 63;

/// The smallest ring, in bytes.
pub const MIN_SIZE: u64 = 64 << 10;

/// The largest ring, in bytes.
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
    category = "all",
    doc = "A ring in shared memory for the containers of a pod. Pods ask for it with the label framebuffer.dev/inject.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters long: pods name it in a label"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.size", description = "What the ring keeps"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.pods.matched", description = "Pods with the label"),
    printcolumn(name = "Ready pods", type_ = "integer", json_path = ".status.pods.ready"),
    printcolumn(name = "Outdated", type_ = "integer", json_path = ".status.pods.outdated", description = "Pods that run something older than what is injected today"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct FrameBufferSpec {
    /// Payload that the ring keeps, in bytes, as in 500Mi or 1.5Gi: from 64Ki to 1Ti.
    #[schemars(length(max = 24), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('64Ki')) >= 0 && quantity(self).compareTo(quantity('1Ti')) <= 0").message("size must be from 64Ki to 1Ti"))]
    pub size: String,

    /// Names of the containers that get the ring: its mount and its environment. By default all containers of the pod,
    /// without its init containers; an init container gets it if it is named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")), extend("x-kubernetes-list-type" = "set"))]
    pub containers: Option<Vec<String>>,

    /// Where the ring's memory is mounted in these containers and in the sidecar.
    #[serde(default = "default_mount_path")]
    #[schemars(length(max = 256), regex(pattern = r"^(/[A-Za-z0-9._-]+)+$"))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..' || part == '.')").message("mountPath must not contain `.` or `..` as a part"))]
    #[x_kube(validation = Rule::new("!['/dev', '/proc', '/sys'].exists(path, self == path) && !self.startsWith('/proc/') && !self.startsWith('/sys/')").message("mountPath must not hide /dev, /proc or /sys"))]
    pub mount_path: String,

    /// The sidecar that owns the ring. Its image is the operator's setting.
    #[serde(default)]
    pub sidecar: SidecarSpec,

    /// What happens to pods that run something older than what would be injected today.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
}

/// The sidecar that owns the ring.
#[derive(KubeSchema, Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.port != self.adminPort").message("sidecar.port and sidecar.adminPort must differ"))]
pub struct SidecarSpec {
    /// Port of the API on the pod's loopback address, from 1024 on.
    #[serde(default = "default_port")]
    #[schemars(with = "i32", range(min = 1024, max = 65535))]
    pub port: u16,

    /// Port of health and metrics on the pod's address, from 1024 on.
    #[serde(default = "default_admin_port")]
    #[schemars(with = "i32", range(min = 1024, max = 65535))]
    pub admin_port: u16,

    /// Requests and limits instead of the computed ones. Memory must hold the ring, which is charged to the sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<SidecarResources>,

    /// The sidecar's log level.
    #[serde(default)]
    pub log_level: LogLevel,
}

/// Requests and limits of the sidecar.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct SidecarResources {
    /// What the scheduler keeps for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,

    /// What it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of CPU and memory.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ResourceAmounts {
    /// CPU, as in 100m or 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^[0-9]+(\.[0-9]{1,3}|m)?$"))]
    pub cpu: Option<String>,

    /// Memory, as in 600Mi.
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
    /// As the sidecar's command line names it.
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

/// What happens to pods that run something older than what would be injected today.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct UpdateStrategy {
    /// OnDelete reports them and waits. RollingRestart restarts their Deployment, StatefulSet or DaemonSet, once for
    /// each change.
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
