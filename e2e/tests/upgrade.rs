//! An upgrade and a rollback while labelled pods are created. Under either carrier.

use framebuffer_e2e::Space;
use framebuffer_e2e::cluster::{OPERATOR, RELEASE, SYSTEM, install};
use framebuffer_e2e::load::{beside, meanwhile};
use framebuffer_e2e::objects::framebuffer;
use framebuffer_e2e::program::helm;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::alone;

async fn arguments(space: &Space) -> String {
    let operator = space.api_in::<Deployment>(SYSTEM).get(OPERATOR).await.unwrap();
    json!(operator.spec.unwrap().template.spec.unwrap().containers[0].args).to_string()
}

#[test]
fn no_labelled_pod_is_refused_during_an_upgrade_and_a_rollback() {
    alone(async |space| {
        space.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let before = arguments(space).await;
        let ((), upgrade) = meanwhile(space, beside(|| install(&["--set", "log.level=debug"]))).await;
        let during = arguments(space).await;
        let rollback = || helm(&["rollback", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "3m"]);
        let (_, rollback) = meanwhile(space, beside(rollback)).await;
        assert!(!before.contains("debug") && during.contains("debug"), "{before} {during}");
        assert_eq!(arguments(space).await, before);
        for load in [upgrade, rollback] {
            assert!(load.accepted > 10, "{load:?}");
            assert_eq!((load.refused, load.wrong), (vec![], vec![]));
        }
    });
}
