//! Labels that other admission adds to a pod on its way: a mutating policy, and webhooks that are called before and
//! after ours. The pod gets its ring where the API server comes to ours after the label, and is refused otherwise, with
//! that reason. No such pod starts without its ring.

use framebuffer_contract::kubernetes::INJECT_LABEL;
use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::load::injected_once;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, mutating_policy, plain_pod};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::PATIENCE;
use framebuffer_e2e::settings::{injector, is_here, serves_policies};
use framebuffer_operator::injector::Injector;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::in_namespace;
use crate::other_webhook::start;

/// What the refusal of such a pod says, in either mode.
const REMEDY: &str = "put the label into the pod template";

fn add_label(pod: &Value) -> Option<Value> {
    let path = format!("/metadata/labels/{}", INJECT_LABEL.replace('/', "~1"));
    let added = json!([{"op": "add", "path": path, "value": RING}]);
    pod["metadata"]["labels"][INJECT_LABEL].is_null().then_some(added)
}

/// A policy that adds the label to the pods of this namespace, and its binding.
fn policy(namespace: &TestNamespace) -> [Value; 2] {
    let name = &namespace.name;
    let path = format!("/metadata/labels/{}", INJECT_LABEL.replace('/', "~1"));
    let added = format!("[JSONPatch{{op: 'add', path: '{path}', value: '{RING}'}}]");
    mutating_policy(name, json!({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": added}}]}))
}

/// What becomes of a pod without the label, once the API server knows who adds it.
async fn labelled_late(namespace: &TestNamespace) -> Result<Value, String> {
    let mut pod = plain_pod("late", &[idle("app")]);
    pod["metadata"]["labels"] = json!({"app": "late"});
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match namespace.try_dry(&pod).await {
            Ok(created) if created["metadata"]["labels"][INJECT_LABEL].is_null() => {
                assert!(std::time::Instant::now() < deadline, "nobody adds the label: {created:#}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Ok(created) => return Ok(created),
            Err(kube::Error::Api(refused)) => return Err(refused.message.clone()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn assert_outcome(who: &str, injected: bool, outcome: Result<Value, String>) {
    match outcome {
        Ok(pod) => assert!(injected && injected_once(&pod), "{who}: {pod:#}"),
        Err(why) => assert!(!injected && why.contains(REMEDY), "{who}: {why}"),
    }
}

#[test]
fn a_pod_whose_label_a_mutating_policy_adds_gets_its_ring_from_the_webhook_and_is_refused_in_policy_mode() {
    in_namespace(async |namespace| {
        if !serves_policies() {
            return measured("not tested: a policy that adds the label; this cluster has no such policies");
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let manifests = policy(namespace);
        for manifest in &manifests {
            namespace.accept_in_cluster(manifest).await;
        }
        let outcome = labelled_late(namespace).await;
        for manifest in manifests.iter().rev() {
            namespace.delete_in_cluster(manifest).await;
        }
        // The API server chooses the policies by the labels that the pod has when it comes.
        assert_outcome("a policy", injector() == Injector::Webhook, outcome);
    });
}

#[test]
fn a_pod_whose_label_a_webhook_adds_gets_its_ring_from_a_later_webhook_of_ours_and_is_refused_otherwise() {
    in_namespace(async |namespace| {
        if !is_here() {
            return measured("not tested: a webhook that adds the label; this cluster's API server can't reach it");
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        for (prefix, before) in [("aa", true), ("zz", false)] {
            let shutdown = CancellationToken::new();
            let configuration = start(namespace, prefix, add_label, shutdown.clone()).await;
            namespace.accept_in_cluster(&configuration).await;
            let outcome = labelled_late(namespace).await;
            namespace.delete_in_cluster(&configuration).await;
            shutdown.cancel();
            assert_outcome(prefix, before && injector() == Injector::Webhook, outcome);
        }
    });
}
