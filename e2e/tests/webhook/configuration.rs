//! The webhook's configuration, edited and deleted by hand.

use framebuffer_e2e::cluster::install;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, pod};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::wait_in;
use framebuffer_e2e::program::{kubectl, run_blocking};
use framebuffer_e2e::settings::OPERATOR;
use framebuffer_e2e::webhook::{configuration, edit};
use framebuffer_operator::api::FrameBuffer;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::api::DeleteParams;
use serde_json::json;

use crate::alone;

/// The field manager of edits by hand.
const SOMEBODY: &str = "kubectl-edit";

/// Its webhooks without `caBundle`, which may change at any time.
fn webhooks(configuration: &MutatingWebhookConfiguration) -> Vec<MutatingWebhook> {
    let mut webhooks = configuration.webhooks.clone().unwrap_or_default();
    for webhook in &mut webhooks {
        webhook.client_config.ca_bundle = None;
    }
    webhooks
}

/// The condition `Ready` of the test's `FrameBuffer`.
fn ready(framebuffer: &FrameBuffer) -> Option<(bool, &str)> {
    let conditions = &framebuffer.status.as_ref()?.conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((ready.status == "True", &ready.message))
}

fn is_ready(framebuffer: &FrameBuffer) -> bool {
    ready(framebuffer).is_some_and(|(ready, _)| ready)
}

#[test]
fn an_edited_webhook_configuration_is_restored_in_all_its_parts() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        namespace.wait(RING, "to be ready", is_ready).await;
        let good = webhooks(&configuration(namespace).await.unwrap());
        let back = |found: &MutatingWebhookConfiguration| webhooks(found) == good;
        let start = std::time::Instant::now();
        edit(
            namespace,
            SOMEBODY,
            json!([
                {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"},
                {"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE", "UPDATE"]},
                {"op": "remove", "path": "/webhooks/0/objectSelector"},
                {"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {"matchLabels": {"a": "b"}}},
                {"op": "replace", "path": "/webhooks/0/clientConfig/service/path", "value": "/elsewhere"},
                {"op": "replace", "path": "/webhooks/0/sideEffects", "value": "NoneOnDryRun"},
                {"op": "replace", "path": "/webhooks/0/reinvocationPolicy", "value": "Never"},
                {"op": "replace", "path": "/webhooks/0/matchPolicy", "value": "Exact"},
                {"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 29},
                {"op": "add", "path": "/webhooks/0/matchConditions", "value": [{"name": "no", "expression": "false"}]},
                {"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"},
            ]),
        )
        .await;
        wait_in(namespace.api_all(), OPERATOR, "to be restored", back).await;
        measured(&format!("an edited webhook configuration was restored after {:?}", start.elapsed()));
        let described = || kubectl(&["describe", "mutatingwebhookconfiguration", OPERATOR]);
        namespace.until("an event says so", async || described().contains("failurePolicy was edited")).await;
        // An owner of the restored fields would keep Helm from changing them.
        let owners = configuration(namespace).await.unwrap().metadata.managed_fields.unwrap_or_default();
        let owners: Vec<_> = owners.into_iter().filter_map(|owner| owner.manager).collect();
        assert!(owners.iter().all(|owner| owner != "framebuffer-operator-repair"), "{owners:?}");
        // A second edit is reported, and reverted only after a pause.
        edit(namespace, SOMEBODY, json!([{"op": "remove", "path": "/webhooks/0"}])).await;
        let reported = |found: &FrameBuffer| {
            ready(found)
                .is_some_and(|(ready, why)| !ready && why.contains("webhook inject.framebuffer.dev was removed"))
        };
        namespace.wait(RING, "to report it", reported).await;
        wait_in(namespace.api_all(), OPERATOR, "to be restored again", back).await;
        namespace.wait(RING, "to be ready again", is_ready).await;
        namespace.try_dry(&pod("app", &[idle("app")])).await.unwrap();
        run_blocking(|| install(&["--set", "webhook.timeoutSeconds=11"])).await;
        let upgraded = configuration(namespace).await.unwrap();
        run_blocking(|| install(&[])).await;
        assert_eq!(webhooks(&upgraded)[0].timeout_seconds, Some(11));
        assert_eq!(webhooks(&configuration(namespace).await.unwrap()), good);
    });
}

#[test]
fn a_webhook_configuration_that_is_deleted_or_has_no_annotation_is_reported_until_an_upgrade_restores_it() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        namespace.wait(RING, "to be ready", is_ready).await;
        let says = |what: &'static str| {
            move |found: &FrameBuffer| ready(found).is_some_and(|(ready, why)| !ready && why.contains(what))
        };
        let lost = json!([{"op": "remove", "path": "/metadata/annotations/framebuffer.dev~1webhooks"}]);
        edit(namespace, SOMEBODY, lost).await;
        namespace.wait(RING, "to report the lost annotation", says("lacks a readable annotation")).await;
        let api = namespace.api_all::<MutatingWebhookConfiguration>();
        api.delete(OPERATOR, &DeleteParams::default()).await.unwrap();
        namespace.wait(RING, "to report the deletion", says("does not exist: labelled pods are refused")).await;
        run_blocking(|| install(&[])).await;
        namespace.wait(RING, "to be ready again", is_ready).await;
        namespace
            .until("labelled pods are injected", async || {
                namespace
                    .try_dry(&pod("app", &[idle("app")]))
                    .await
                    .is_ok_and(|pod| pod["spec"]["initContainers"].is_array())
            })
            .await;
    });
}
