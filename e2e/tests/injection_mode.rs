//! The injection mode, changed under load.

use framebuffer_e2e::alone;
use framebuffer_e2e::cluster::{install, restoring};
use framebuffer_e2e::load::{Load, injected_once, meanwhile};
use framebuffer_e2e::manifests::{framebuffer, idle, pod, without_node, workload};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::has_sidecar;
use framebuffer_e2e::policy::bindings;
use framebuffer_e2e::program::run_blocking;
use framebuffer_e2e::settings::serves_policies;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use std::time::Duration;

fn report(what: &str, load: &Load) {
    let times = load.refused.iter().map(|(when, _)| *when);
    let (first, last) = (times.clone().min().unwrap_or_default(), times.max().unwrap_or_default());
    measured(&format!(
        "while {what}: {} labelled pods were accepted, {} refused, from {first:?} to {last:?} after the start",
        load.accepted,
        load.refused.len()
    ));
}

#[test]
fn the_injection_mode_changes_both_ways_and_no_labelled_pod_slips_through_or_is_injected_twice() {
    alone(async |namespace| {
        if !serves_policies() {
            measured("not tested: a change of the injection mode; this cluster's API server cannot inject");
            return;
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        restoring(
            namespace,
            Box::pin(async {
                let mut seen = Vec::new();
                for mode in ["webhook", "policy"] {
                    let mut deployment = workload("Deployment", mode, &[idle("app")]);
                    deployment["spec"]["replicas"] = json!(10);
                    without_node(&mut deployment["spec"]["template"]);
                    let setting = format!("injection.mode={mode}");
                    let change = async {
                        let (setting, created) = (setting.clone(), namespace.accept(&deployment));
                        let installed = run_blocking(move || install(&["--set", &setting]));
                        tokio::join!(created, installed);
                        // Pods that were refused meanwhile are created again.
                        let all =
                            |found: &Deployment| found.status.as_ref().and_then(|status| status.replicas) == Some(10);
                        namespace.wait(mode, "to have all its pods", all).await;
                        let accepted = async || {
                            namespace.try_dry(&pod("after", &[idle("app")])).await.is_ok_and(|pod| injected_once(&pod))
                        };
                        namespace.until("labelled pods are accepted", accepted).await;
                    };
                    let ((), load) = Box::pin(meanwhile(namespace, change)).await;
                    report(&format!("the injection mode became {mode}"), &load);
                    let gone = mode == "webhook";
                    let bound = async || bindings(namespace).await.is_empty() == gone;
                    namespace.until("bindings exist in policy mode, and are gone in webhook mode", bound).await;
                    seen.push(load);
                }
                assert!(namespace.pods().await.iter().all(has_sidecar), "a labelled pod has no sidecar");
                for load in seen {
                    assert_eq!(load.wrong, Vec::<String>::new());
                    let last = load.refused.iter().map(|(when, _)| *when).max().unwrap_or_default();
                    assert!(last < Duration::from_secs(30), "{:?}", load.refused.last());
                }
            }),
        )
        .await;
    });
}
