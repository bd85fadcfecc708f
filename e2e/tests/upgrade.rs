//! An upgrade and a rollback while labelled pods are created, in either injection mode.

use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::cluster::install;
use framebuffer_e2e::load::meanwhile;
use framebuffer_e2e::manifests::framebuffer;
use framebuffer_e2e::program::{helm, run_blocking};
use framebuffer_e2e::settings::{OPERATOR, RELEASE, SYSTEM};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::alone;

async fn arguments(namespace: &TestNamespace) -> String {
    let operator = namespace.api_in::<Deployment>(SYSTEM).get(OPERATOR).await.unwrap();
    json!(operator.spec.unwrap().template.spec.unwrap().containers[0].args).to_string()
}

#[test]
fn no_labelled_pod_is_refused_during_an_upgrade_and_a_rollback() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let before = arguments(namespace).await;
        let ((), upgrade) = meanwhile(namespace, run_blocking(|| install(&["--set", "log.level=debug"]))).await;
        let during = arguments(namespace).await;
        let rollback = || helm(&["rollback", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "3m"]);
        let (_, rollback) = meanwhile(namespace, run_blocking(rollback)).await;
        assert!(!before.contains("debug") && during.contains("debug"), "{before} {during}");
        assert_eq!(arguments(namespace).await, before);
        for load in [upgrade, rollback] {
            assert!(load.accepted > 10, "{load:?}");
            assert_eq!((load.refused, load.wrong), (vec![], vec![]));
        }
    });
}
