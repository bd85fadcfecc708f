//! The webhook's certificates, and who keeps them.

use framebuffer_e2e::alone;
use framebuffer_e2e::cluster::{OPERATOR, SYSTEM};
use framebuffer_e2e::objects::{framebuffer, idle, pod};
use framebuffer_e2e::space::wait_in;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

const SECRET: &str = "framebuffer-operator-tls";

fn authority(secret: &Secret) -> Option<ByteString> {
    secret.data.as_ref()?.get("ca.crt").cloned()
}

fn bundle(configuration: &MutatingWebhookConfiguration) -> Option<ByteString> {
    configuration.webhooks.as_ref()?.first()?.client_config.ca_bundle.clone()
}

#[test]
fn a_deleted_secret_comes_back_with_a_new_authority_that_the_api_server_trusts() {
    alone(async |space| {
        space.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        let secrets = space.api_in::<Secret>(SYSTEM);
        let old = authority(&secrets.get(SECRET).await.unwrap()).unwrap();
        secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
        let renewed = |secret: &Secret| authority(secret).is_some_and(|new| new != old);
        let secret = wait_in(secrets, SECRET, "to come back", renewed).await;
        let new = authority(&secret).unwrap();
        let trusted = |found: &MutatingWebhookConfiguration| {
            bundle(found)
                .is_some_and(|bundle| String::from_utf8_lossy(&bundle.0).contains(&*String::from_utf8_lossy(&new.0)))
        };
        wait_in(space.api_all(), OPERATOR, "to trust it", trusted).await;
        space
            .until("labelled pods are accepted", async || space.try_dry(&pod("app", &[idle("app")])).await.is_ok())
            .await;
        // And not only by chance: by either replica.
        for number in 0..20 {
            space.try_dry(&pod(&format!("app-{number}"), &[idle("app")])).await.unwrap();
        }
    });
}

#[test]
fn an_edited_webhook_configuration_is_repaired() {
    alone(async |space| {
        space.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        let api = space.api_all::<MutatingWebhookConfiguration>();
        let good = bundle(&api.get(OPERATOR).await.unwrap()).unwrap();
        let edit = async |patch: serde_json::Value| {
            api.patch(OPERATOR, &PatchParams::default(), &Patch::Json::<()>(serde_json::from_value(patch).unwrap()))
                .await
                .unwrap();
        };
        let repaired = |found: &MutatingWebhookConfiguration| bundle(found).as_ref() == Some(&good);
        edit(json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])).await;
        wait_in(api.clone(), OPERATOR, "to be repaired after a removal", repaired).await;
        // Anything that is a certificate, and not the right one.
        let secret = space.api_in::<Secret>(SYSTEM).get(SECRET).await.unwrap();
        let wrong = &secret.data.unwrap()["tls.crt"];
        edit(json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": wrong}])).await;
        wait_in(api.clone(), OPERATOR, "to be repaired after an edit", repaired).await;
        space
            .until("labelled pods are accepted", async || space.try_dry(&pod("app", &[idle("app")])).await.is_ok())
            .await;
    });
}
