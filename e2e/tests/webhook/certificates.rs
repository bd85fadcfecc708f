//! The webhook's certificates, rotated by the operator itself.

use std::collections::BTreeSet;
use std::time::Duration;

use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::cluster::{install, restoring};
use framebuffer_e2e::load::meanwhile;
use framebuffer_e2e::manifests::{framebuffer, idle, pod};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::wait_in;
use framebuffer_e2e::operator::{operators, settled};
use framebuffer_e2e::program::run_blocking;
use framebuffer_e2e::settings::{OPERATOR, SYSTEM};
use framebuffer_e2e::webhook::{SECRET, bundle, edit, expiry, handshakes, trusted_authority};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use serde_json::json;

use crate::alone;

fn entry(secret: &Secret, name: &str) -> Option<String> {
    let entry = secret.data.as_ref()?.get(name)?;
    Some(String::from_utf8_lossy(&entry.0).into_owned())
}

/// Deletes the Secret; returns the new one, and its CA.
async fn replaced(namespace: &TestNamespace) -> (Secret, String) {
    let secrets = namespace.api_in::<Secret>(SYSTEM);
    let old = entry(&secrets.get(SECRET).await.unwrap(), "ca.crt").unwrap();
    secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
    let renewed = move |secret: &Secret| entry(secret, "ca.crt").is_some_and(|new| new != old);
    let secret = wait_in(secrets, SECRET, "to come back", renewed).await;
    let authority = entry(&secret, "ca.crt").unwrap();
    (secret, authority)
}

#[test]
fn a_deleted_secret_comes_back_with_a_new_authority_that_the_api_server_trusts() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let (_, new) = replaced(namespace).await;
        let trusted = |found: &MutatingWebhookConfiguration| bundle(found).is_some_and(|bundle| bundle.contains(&new));
        wait_in(namespace.api_all(), OPERATOR, "to trust it", trusted).await;
        namespace
            .until("labelled pods are accepted", async || namespace.try_dry(&pod("app", &[idle("app")])).await.is_ok())
            .await;
        // And not only by chance: by either replica.
        for number in 0..20 {
            namespace.try_dry(&pod(&format!("app-{number}"), &[idle("app")])).await.unwrap();
        }
    });
}

#[test]
fn an_edited_ca_bundle_is_repaired() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        // What is right is what the Secret says, before and after: the authority may be replaced meanwhile.
        trusted_authority(namespace).await;
        edit(namespace, "kubectl-edit", json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])).await;
        trusted_authority(namespace).await;
        // Anything that is a certificate, and not the right one.
        let secret = namespace.api_in::<Secret>(SYSTEM).get(SECRET).await.unwrap();
        let wrong = &secret.data.unwrap()["tls.crt"];
        edit(
            namespace,
            "kubectl-edit",
            json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": wrong}]),
        )
        .await;
        trusted_authority(namespace).await;
        namespace
            .until("labelled pods are accepted", async || namespace.try_dry(&pod("app", &[idle("app")])).await.is_ok())
            .await;
    });
}

/// Observations during the rotation of certificates.
#[derive(Debug, Default)]
struct Seen {
    authorities: BTreeSet<String>,
    certificates: BTreeSet<String>,
    handshakes: usize,
    untrusted: Vec<String>,
}

/// Looks at the Secret and connects to the replicas until the serving certificate was renewed twice and the CA once,
/// and the old CA is gone.
async fn rotations(namespace: &TestNamespace) -> Seen {
    let (secrets, mut seen) = (namespace.api_in::<Secret>(SYSTEM), Seen::default());
    let rotated = async || {
        let secret = secrets.get(SECRET).await.unwrap();
        let cas = entry(&secret, "ca.crt").unwrap();
        let mut cas = cas.split_inclusive("-----END CERTIFICATE-----\n");
        seen.authorities.extend(cas.next().map(str::to_owned));
        seen.certificates.extend(entry(&secret, "tls.crt"));
        match handshakes(namespace).await {
            Ok(number) => seen.handshakes += number,
            Err(error) => seen.untrusted.push(error),
        }
        seen.certificates.len() > 2 && seen.authorities.len() > 1 && cas.next().is_none()
    };
    namespace.until("all certificates are renewed", rotated).await;
    seen
}

#[test]
fn no_admission_fails_while_the_serving_certificate_is_renewed_twice_and_the_authority_once() {
    // The shortest lives that there are: 10 and 20 seconds until they are renewed.
    const SHORT: &[&str] = &["--set", "extraArgs={--ca-seconds=30,--certificate-seconds=15}"];
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        restoring(namespace, Box::pin(async {
            run_blocking(|| install(SHORT)).await;
            replaced(namespace).await;
            let accepted = async || namespace.try_dry(&pod("app", &[idle("app")])).await.is_ok();
            namespace.until("labelled pods are accepted", accepted).await;
            let start = std::time::Instant::now();
            let (seen, load) = Box::pin(meanwhile(namespace, rotations(namespace))).await;
            measured(&format!(
                "{} serving certificates of {} CAs in {:?}: {} of {} admissions failed (the longest took {:?}), {} of \
                 {} new connections were not trusted",
                seen.certificates.len(),
                seen.authorities.len(),
                start.elapsed(),
                load.refused.len(),
                load.refused.len() + load.accepted,
                load.longest,
                seen.untrusted.len(),
                seen.untrusted.len() + seen.handshakes,
            ));
            assert_eq!((load.refused, seen.untrusted), (vec![], vec![]));
            assert!(load.accepted > 100 && start.elapsed() > Duration::from_secs(15), "{}", load.accepted);
        }))
        .await;
        // Else the next test begins with certificates that live for seconds, and without a leader for as many.
        settled(namespace, 2).await;
        replaced(namespace).await;
        let in_an_hour = jiff::Timestamp::now().as_second() + 3600;
        let lives_long = |replica: &Pod| expiry(replica).is_some_and(|end| end > in_an_hour);
        namespace
            .until("certificates live long again", async || operators(namespace).await.iter().all(lives_long))
            .await;
        namespace
            .until("labelled pods are accepted again", async || {
                namespace.try_dry(&pod("app", &[idle("app")])).await.is_ok()
            })
            .await;
    });
}
