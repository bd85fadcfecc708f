//! The cluster under test: the one that `KUBECONFIG` names, with the operator installed by the chart. Runs tests in
//! namespaces of their own, and tests that disturb others alone.

use std::env;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::OnceLock;

use framebuffer_operator::injector::Injector;
use futures::FutureExt as _;
use kube::Client;
use tokio::sync::RwLock;

use crate::namespace::TestNamespace;
use crate::program::{helm, run_blocking};
use crate::settings::{RELEASE, SYSTEM, chart, choose_injection_mode, injection_mode, injector, registry, tag};
use crate::webhook::trusted_authority;

/// Tests that change the operator or the cluster lock it exclusively, others share it.
static GATE: RwLock<()> = RwLock::const_new(());

/// Runs a test in a namespace of its own, together with others.
pub fn in_namespace(test: impl AsyncFnOnce(&TestNamespace)) {
    run("auto", &[], false, test);
}

/// Runs a test in a namespace that enforces the restricted Pod Security Standard.
pub fn in_restricted_namespace(test: impl AsyncFnOnce(&TestNamespace)) {
    run("auto", &[("pod-security.kubernetes.io/enforce", "restricted")], false, test);
}

/// Runs a test in a namespace of its own while no other test runs: it disturbs them.
pub fn alone(test: impl AsyncFnOnce(&TestNamespace)) {
    run("auto", &[], true, test);
}

/// The same in webhook mode, whatever the cluster supports.
pub mod with_webhook {
    use super::{TestNamespace, run};

    /// Runs a test in a namespace of its own, together with others.
    pub fn in_namespace(test: impl AsyncFnOnce(&TestNamespace)) {
        run("webhook", &[], false, test);
    }

    /// Runs a test in a namespace of its own while no other test runs: it disturbs them.
    pub fn alone(test: impl AsyncFnOnce(&TestNamespace)) {
        run("webhook", &[], true, test);
    }
}

fn run(mode: &'static str, labels: &[(&str, &str)], alone: bool, test: impl AsyncFnOnce(&TestNamespace)) {
    choose_injection_mode(mode);
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
        let namespace = TestNamespace::create(client, labels).await;
        // Catch a panic, to print the logs of the namespace's pods and delete it in any case.
        let result = AssertUnwindSafe(test(&namespace)).catch_unwind().await;
        if result.is_err() {
            namespace.report().await;
        }
        namespace.delete().await;
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

/// Runs a test that installs the operator with other values, and then installs it as usual in any case. The next test
/// finds the usual state: the certificates are the operator's own again, and trusted.
pub async fn restoring(namespace: &TestNamespace, test: Pin<Box<dyn Future<Output = ()> + '_>>) {
    let result = AssertUnwindSafe(test).catch_unwind().await;
    run_blocking(|| install(&[])).await;
    // Ready replicas serve a certificate that was trusted when they started; a new leader may still replace it.
    if injector() == Injector::Webhook {
        trusted_authority(namespace).await;
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Installs or upgrades the operator, with more arguments for helm, and waits until it is ready.
pub fn install(more: &[&str]) {
    let chart = chart().display().to_string();
    let mut arguments = vec!["upgrade", "--install", RELEASE, &chart, "--namespace", SYSTEM, "--create-namespace"];
    let registry = format!("image.registry={}", registry());
    let tag = format!("image.tag={}", tag());
    let mode = format!("injection.mode={}", injection_mode());
    arguments.extend([
        "--set",
        &mode,
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
