//! The cluster under test: the one that `KUBECONFIG` names, with the operator installed by the chart.

use std::env;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::OnceLock;

use framebuffer_operator::injector::Injector;
use futures::FutureExt as _;
use kube::Client;
use tokio::sync::RwLock;

use crate::load::beside;
use crate::program::{helm, kubectl};
use crate::space::Space;
use crate::webhook::trusted_authority;

/// The operator's namespace.
pub const SYSTEM: &str = "framebuffer-system";
/// The chart's release.
pub const RELEASE: &str = "framebuffer";
/// The operator's Deployment, service account, lease and webhook configuration.
pub const OPERATOR: &str = "framebuffer-operator";

/// Tests that change the operator or the cluster hold it alone, others together.
static GATE: RwLock<()> = RwLock::const_new(());

/// The carrier that all tests of this program have, as a value of the chart. A switch takes as long as many tests.
static CARRIER: OnceLock<&str> = OnceLock::new();

/// Runs a test in a namespace of its own, together with others.
pub fn in_namespace(test: impl AsyncFnOnce(&Space)) {
    run("auto", &[], false, test);
}

/// Runs a test in a namespace that enforces the restricted Pod Security Standard.
pub fn in_restricted_namespace(test: impl AsyncFnOnce(&Space)) {
    run("auto", &[("pod-security.kubernetes.io/enforce", "restricted")], false, test);
}

/// Runs a test in a namespace of its own while no other test runs: it disturbs them.
pub fn alone(test: impl AsyncFnOnce(&Space)) {
    run("auto", &[], true, test);
}

/// The same with the webhook as the carrier, wherever the tests run.
pub mod with_webhook {
    use super::{Space, run};

    /// Runs a test in a namespace of its own, together with others.
    pub fn in_namespace(test: impl AsyncFnOnce(&Space)) {
        run("webhook", &[], false, test);
    }

    /// Runs a test in a namespace of its own while no other test runs: it disturbs them.
    pub fn alone(test: impl AsyncFnOnce(&Space)) {
        run("webhook", &[], true, test);
    }
}

fn run(carrier: &'static str, labels: &[(&str, &str)], alone: bool, test: impl AsyncFnOnce(&Space)) {
    let chosen = *CARRIER.get_or_init(|| carrier);
    assert_eq!(chosen, carrier, "tests of one program have one carrier");
    install_once();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime can be started").block_on(async {
        let (_shared, _alone);
        if alone {
            _alone = GATE.write().await;
        } else {
            _shared = GATE.read().await;
        }
        let client = Client::try_default().await.expect("KUBECONFIG is good");
        let space = Space::create(client, labels).await;
        // Caught, so that the namespace goes whatever happens, and what its pods said is shown.
        let result = AssertUnwindSafe(test(&space)).catch_unwind().await;
        if result.is_err() {
            space.report().await;
        }
        space.delete().await;
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    });
}

/// Installs the chart, or upgrades it to the one here, before the first test.
fn install_once() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // A kubeconfig found by default may be that of a cluster that others depend on.
        assert!(env::var_os("KUBECONFIG").is_some(), "set KUBECONFIG, or run `cargo xtask test cluster`");
        install(&[]);
    });
}

/// Runs a test that installs the operator in another way, and installs it as usual again, whatever happens. The next test
/// finds nothing of the other way: the certificates are the operator's own again, and trusted.
pub async fn restoring(space: &Space, test: Pin<Box<dyn Future<Output = ()> + '_>>) {
    let result = AssertUnwindSafe(test).catch_unwind().await;
    beside(|| install(&[])).await;
    // Ready replicas serve what was trusted when they started; the leader that comes after them may make something else.
    if injector() == Injector::Webhook {
        trusted_authority(space).await;
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Installs or upgrades the operator, with these arguments more for helm, and waits until it is ready.
pub fn install(more: &[&str]) {
    let chart = chart().display().to_string();
    let mut arguments = vec!["upgrade", "--install", RELEASE, &chart, "--namespace", SYSTEM, "--create-namespace"];
    let registry = format!("image.registry={}", registry());
    let tag = format!("image.tag={}", tag());
    let carrier = format!("injection.mode={}", CARRIER.get().expect("a test has chosen it"));
    arguments.extend([
        "--set",
        &carrier,
        "--set",
        &registry,
        "--set",
        &tag,
        "--reset-values",
        "--wait",
        "--timeout",
        "3m",
    ]);
    arguments.extend(more);
    helm(&arguments);
}

/// Who carries as the chart is installed for this program's tests.
pub fn injector() -> Injector {
    match CARRIER.get().copied() {
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

/// An image of this repository, as the cluster's nodes find it.
pub fn image(name: &str) -> String {
    format!("{}/framebuffer-{name}:{}", registry(), tag())
}

/// An image with busybox's programs.
pub fn busybox() -> String {
    variable("FRAMEBUFFER_E2E_BUSYBOX", "localhost/busybox:test")
}

fn registry() -> String {
    variable("FRAMEBUFFER_E2E_REGISTRY", "localhost")
}

fn tag() -> String {
    variable("FRAMEBUFFER_E2E_TAG", "test")
}

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
