//! The chart's life: its own test, uninstall, install. What it renders is tested in `charts/tests`.

use framebuffer_e2e::alone;
use framebuffer_e2e::cluster::install;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, pod};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::policy::bindings;
use framebuffer_e2e::program::helm;
use framebuffer_e2e::settings::{OPERATOR, RELEASE, SYSTEM, injector};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::injector::Injector;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

#[test]
fn the_charts_own_test_succeeds() {
    alone(async |_| {
        let said = helm(&["test", RELEASE, "--namespace", SYSTEM, "--timeout", "2m"]);
        assert!(said.contains("Succeeded") && !said.contains("Failed"), "{said}");
    });
}

#[test]
fn framebuffers_outlive_an_uninstallation_and_work_again_after_an_installation() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        namespace.accept(&pod("running", &[idle("app")])).await;
        namespace.ready("running").await;
        helm(&["uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "3m"]);
        let kept = namespace.api::<FrameBuffer>().get_opt(RING).await.unwrap();
        let webhook = namespace.api_all::<MutatingWebhookConfiguration>().get_opt(OPERATOR).await.unwrap();
        let operator = namespace.api_in::<Deployment>(SYSTEM).get_opt(OPERATOR).await.unwrap();
        if injector() == Injector::Policy {
            namespace
                .until("the bindings are gone with their policy", async || bindings(namespace).await.is_empty())
                .await;
        }
        // Before anything can fail: the next test needs it.
        let start = std::time::Instant::now();
        install(&[]);
        let took = start.elapsed();
        // At once: what is installed can be used.
        let at_once = namespace.try_dry(&pod("at-once", &[idle("app")])).await;
        measured(&format!("installed again after {took:?}"));
        assert!(at_once.is_ok(), "{at_once:?}");
        assert!(kept.is_some(), "the FrameBuffer is gone");
        assert!(webhook.is_none() && operator.is_none(), "something was not uninstalled");
        namespace.ready("running").await;
        let created = namespace.accept(&pod("again", &[idle("app")])).await;
        assert_eq!(created["spec"]["initContainers"][0]["name"], "framebuffer-sidecar");
        namespace.ready("again").await;
    });
}
