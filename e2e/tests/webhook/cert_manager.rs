//! The chart with certificates from cert-manager, which this test simulates: it creates cert-manager's custom
//! resources, and writes the objects that cert-manager and its cainjector would write: a Secret of type
//! `kubernetes.io/tls` with `ca.crt`, named by the Certificate, and that CA as `caBundle` where an annotation names the
//! Certificate.

use std::time::Instant;

use crate::alone;

use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::cluster::{install, restoring};
use framebuffer_e2e::load::meanwhile;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, pod};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::{is_ready, wait_in};
use framebuffer_e2e::operator::operators;
use framebuffer_e2e::program::{helm, kubectl, output, run_blocking};
use framebuffer_e2e::settings::{OPERATOR, RELEASE, SYSTEM};
use framebuffer_e2e::webhook::{SECRET, SERVICE, bundle, configuration, edit, expiry, handshakes};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::certificates::issue;
use framebuffer_operator::certificates::material::Material;
use framebuffer_operator::certificates::plan::Lifetimes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// As much of cert-manager's custom resources as the chart needs: their names.
fn custom_resource(plural: &str, kind: &str) -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.cert-manager.io")},
        "spec": {
            "group": "cert-manager.io",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}],
        },
    })
}

fn lifetimes(days: i64) -> Lifetimes {
    Lifetimes::new(SignedDuration::from_hours(24 * 3650), SignedDuration::from_hours(24 * days))
}

/// A CA, and a certificate of it for as many days.
fn issued(days: i64) -> Material {
    issue::create("", &[SERVICE.to_owned()], &lifetimes(days), Timestamp::now()).unwrap()
}

fn end(material: &Material) -> i64 {
    material.facts().unwrap().serving.not_after.as_second()
}

/// The Secret as cert-manager writes it.
async fn write_secret(namespace: &TestNamespace, material: &Material) {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "annotations": {
                "cert-manager.io/certificate-name": OPERATOR,
                "cert-manager.io/issuer-kind": "Issuer",
                "cert-manager.io/issuer-name": format!("{OPERATOR}-ca"),
            },
        },
        "type": "kubernetes.io/tls",
        "data": {
            "ca.crt": ByteString(material.cas.clone().into_bytes()),
            "tls.crt": ByteString(material.certificate.clone().into_bytes()),
            "tls.key": ByteString(material.key.clone().into_bytes()),
        },
    });
    let params = PatchParams::apply("cert-manager-certificates-issuing").force();
    namespace.api_in::<Secret>(SYSTEM).patch(SECRET, &params, &Patch::Apply(secret)).await.unwrap();
}

/// Writes the CA bundle as the cainjector does.
async fn inject(namespace: &TestNamespace, material: &Material) {
    let found = configuration(namespace).await.unwrap();
    let from = found.annotations().get("cert-manager.io/inject-ca-from");
    assert_eq!(from.map(String::as_str), Some("framebuffer-system/framebuffer-operator"));
    let value = json!(ByteString(material.cas.clone().into_bytes()));
    let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": value}]);
    edit(namespace, "cert-manager-cainjector", patch).await;
}

/// Has the kubelet look at the operator's pods and their volumes now: by itself it does so every minute or so.
async fn nudge(namespace: &TestNamespace) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"e2e": Timestamp::now().to_string()}}}));
    for replica in operators(namespace).await {
        let pods = namespace.api_in::<Pod>(SYSTEM);
        pods.patch(&replica.name_any(), &PatchParams::default(), &patch).await.unwrap();
    }
}

async fn all_serve(namespace: &TestNamespace, material: &Material) -> bool {
    operators(namespace).await.iter().all(|replica| expiry(replica) == Some(end(material)))
}

async fn first_certificate(namespace: &TestNamespace, material: &Material) {
    let asked = || output("kubectl", &["-n", SYSTEM, "get", "certificate.cert-manager.io", OPERATOR]).status.success();
    namespace.until("the chart asks for a certificate", async || asked()).await;
    write_secret(namespace, material).await;
    namespace
        .until("the operator serves with it", async || {
            let replicas = operators(namespace).await;
            let started = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            replicas.len() == 2 && replicas.iter().all(started)
        })
        .await;
    // Without the cainjector nobody trusts the operator, and it is not ready.
    assert!(
        operators(namespace).await.iter().all(|replica| !is_ready(replica)),
        "a replica is ready that nobody trusts"
    );
    inject(namespace, material).await;
}

async fn renewed(namespace: &TestNamespace, old: &Material) -> Material {
    let new = issue::issue(old, &[SERVICE.to_owned()], &lifetimes(60), Timestamp::now()).unwrap();
    let start = Instant::now();
    let ((), load) = meanwhile(namespace, async {
        write_secret(namespace, &new).await;
        nudge(namespace).await;
        namespace.until("all replicas serve with the new certificate", async || all_serve(namespace, &new).await).await;
        handshakes(namespace).await.unwrap();
    })
    .await;
    measured(&format!(
        "with cert-manager's Secret renewed, served {:?} later: {} of {} admissions failed",
        start.elapsed(),
        load.refused.len(),
        load.refused.len() + load.accepted
    ));
    assert_eq!(load.refused, []);
    assert!(load.accepted > 10, "{load:?}");
    new
}

/// The condition `Ready` of the test's `FrameBuffer` is as given.
fn says(ready: bool, what: &'static str) -> impl Fn(&FrameBuffer) -> bool + Send {
    let status = if ready { "True" } else { "False" };
    move |found| {
        let conditions = found.status.iter().flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|found| found.type_ == "Ready" && found.status == status && found.message.contains(what))
    }
}

#[test]
fn with_cert_manager_its_certificates_are_served_and_renewed_without_a_failed_admission() {
    alone(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let resources = [custom_resource("certificates", "Certificate"), custom_resource("issuers", "Issuer")];
        for resource in &resources {
            namespace.accept_in_cluster(resource).await;
        }
        kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/certificates.cert-manager.io",
            "crd/issuers.cert-manager.io",
        ]);
        restoring(
            namespace,
            Box::pin(async {
                // A fresh installation: there is no Secret, and no CA in the configuration.
                helm(&["uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "3m"]);
                kubectl(&["-n", SYSTEM, "delete", "secret", SECRET]);
                let material = issued(90);
                let installed = run_blocking(|| install(&["--set", "certManager.enabled=true"]));
                tokio::join!(installed, first_certificate(namespace, &material));
                lives(namespace, material).await;
            }),
        )
        .await;
        for resource in &resources {
            namespace.delete_in_cluster(resource).await;
        }
        // With the operator's own certificates again.
        namespace.try_dry(&pod("app", &[idle("app")])).await.unwrap();
    });
}

async fn lives(namespace: &TestNamespace, material: Material) {
    assert!(all_serve(namespace, &material).await);
    for number in 0..20 {
        let created = namespace.try_dry(&pod(&format!("app-{number}"), &[idle("app")])).await.unwrap();
        assert_eq!(created["spec"]["initContainers"][0]["name"], "framebuffer-sidecar");
    }
    namespace.wait(RING, "to be ready", says(true, "")).await;
    let new = renewed(namespace, &material).await;
    // An edit is reverted with cert-manager too, and its CA is kept.
    let good = configuration(namespace).await.unwrap().webhooks;
    let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    edit(namespace, "kubectl-edit", ignore).await;
    let back = |found: &MutatingWebhookConfiguration| found.webhooks == good;
    let found = wait_in(namespace.api_all(), OPERATOR, "to be restored", back).await;
    assert_eq!(bundle(&found), Some(new.cas.clone()));
    // A CA that is not that of what is served.
    inject(namespace, &issued(1)).await;
    namespace.wait(RING, "to report the wrong CA", says(false, "is no certificate of the CA in")).await;
    inject(namespace, &new).await;
    namespace.wait(RING, "to be ready again", says(true, "")).await;
}
