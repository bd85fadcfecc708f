//! What the tests are configured with: names of the installed objects, images, and the cluster's abilities.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use framebuffer_operator::injector::Injector;

use crate::program::kubectl;

/// The operator's namespace.
pub const SYSTEM: &str = "framebuffer-system";
/// The chart's release.
pub const RELEASE: &str = "framebuffer";
/// The operator's Deployment, service account, lease and webhook configuration.
pub const OPERATOR: &str = "framebuffer-operator";

/// The value `injection.mode` of the chart, for all tests of this program: a change takes as long as many tests.
static INJECTION_MODE: OnceLock<&str> = OnceLock::new();

/// Sets the value `injection.mode` of the chart for this program. Every test sets the same.
pub(crate) fn choose_injection_mode(mode: &'static str) {
    let chosen = *INJECTION_MODE.get_or_init(|| mode);
    assert_eq!(chosen, mode, "tests of one program have one injection mode");
}

/// The value `injection.mode` with which the chart is installed for this program.
pub(crate) fn injection_mode() -> &'static str {
    INJECTION_MODE.get().expect("a test has chosen it")
}

/// The component that injects, with the chart as it is installed for this program.
pub fn injector() -> Injector {
    match INJECTION_MODE.get().copied() {
        Some("auto") if serves_policies() => Injector::Policy,
        _ => Injector::Webhook,
    }
}

/// Whether this cluster's API server can inject by itself.
pub fn serves_policies() -> bool {
    static SERVED: OnceLock<bool> = OnceLock::new();
    *SERVED.get_or_init(|| {
        kubectl(&["api-resources", "--api-group=admissionregistration.k8s.io", "--no-headers"]).lines().any(|line| {
            line.starts_with("mutatingadmissionpolicies ") && line.contains("admissionregistration.k8s.io/v1 ")
        })
    })
}

/// Whether the API server shares this machine's loopback address and processes, as that of `cargo xtask cluster` does.
pub fn is_here() -> bool {
    kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]) == "https://127.0.0.1:6443"
        && kubectl(&["get", "nodes", "-o", "name"]).trim() == "node/node0"
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    root().join("charts/framebuffer")
}

/// The repository's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a folder of the repository").into()
}

/// The reference of an image of this repository, for the cluster's nodes.
pub fn image(name: &str) -> String {
    format!("{}/framebuffer-{name}:{}", registry(), tag())
}

/// An image with busybox's programs.
pub fn busybox() -> String {
    variable("FRAMEBUFFER_E2E_BUSYBOX", "localhost/busybox:test")
}

pub(crate) fn registry() -> String {
    variable("FRAMEBUFFER_E2E_REGISTRY", "localhost")
}

pub(crate) fn tag() -> String {
    variable("FRAMEBUFFER_E2E_TAG", "test")
}

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
