//! Policy mode: with the operator down, before a `FrameBuffer` is rendered, and after edits of the policy and its
//! bindings.

use std::time::{Duration, Instant};

use framebuffer_contract::kubernetes::{INJECT_LABEL, INJECTED_ANNOTATION};
use framebuffer_e2e::cluster::install;
use framebuffer_e2e::load::injected_once;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, pod, workload};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::{has_sidecar, size};
use framebuffer_e2e::operator::scale;
use framebuffer_e2e::policy::{POLICY, api, binding, bindings, policies};
use framebuffer_e2e::program::run_blocking;
use framebuffer_e2e::settings::injector;
use framebuffer_e2e::{TestNamespace, alone, in_namespace};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::injector::Injector;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Whether the API server injects; if not, there is nothing to test.
fn injects_by_itself() -> bool {
    let policy = injector() == Injector::Policy;
    if !policy {
        measured("not tested: injection by the API server; this cluster's cannot do it");
    }
    policy
}

fn available(found: &Deployment) -> bool {
    found.status.as_ref().and_then(|status| status.available_replicas) == Some(1)
}

fn ready(framebuffer: &FrameBuffer) -> Option<(bool, &str)> {
    let conditions = &framebuffer.status.as_ref()?.conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((ready.status == "True", &ready.message))
}

fn hash(framebuffer: &FrameBuffer) -> &str {
    &framebuffer.status.as_ref().unwrap().injection.as_ref().unwrap().hash
}

/// A `FrameBuffer` of another name than [`RING`].
fn named(name: &str) -> Value {
    let mut framebuffer = framebuffer(&json!({"size": "1Mi"}));
    framebuffer["metadata"]["name"] = json!(name);
    framebuffer
}

/// A pod, or a workload, that asks for it.
fn asking(mut object: Value, name: &str) -> Value {
    let metadata = if object["kind"] == "Pod" { "/metadata" } else { "/spec/template/metadata" };
    object.pointer_mut(metadata).unwrap()["labels"][INJECT_LABEL] = json!(name);
    object
}

#[test]
fn with_the_operator_down_labelled_pods_start_with_their_ring_and_edits_wait_for_it() {
    alone(async |namespace| {
        if !injects_by_itself() {
            return;
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let old = namespace.api::<FrameBuffer>().get(RING).await.unwrap();
        scale(namespace, 0).await;
        namespace.accept(&pod("alone", &[idle("app")])).await;
        namespace.accept(&workload("Deployment", "owned", &[idle("app")])).await;
        namespace.ready("alone").await;
        namespace.wait("owned", "to be available", available).await;
        let all = namespace.pods().await.iter().all(has_sidecar);
        let edited = namespace.merge::<FrameBuffer>(RING, &size("2Mi")).await;
        let still = namespace.try_dry(&pod("still", &[idle("app")])).await;
        let back = Instant::now();
        // Before anything can fail: the next test needs the operator.
        scale(namespace, 2).await;
        let new = |found: &FrameBuffer| hash(found) != hash(&old);
        let found = namespace.wait(RING, "to be rendered anew", new).await;
        measured(&format!("an edit took effect {:?} after the operator was started", back.elapsed()));
        assert!(all, "a labelled pod has no sidecar");
        assert_eq!(still.unwrap()["metadata"]["annotations"][INJECTED_ANNOTATION], hash(&old));
        // The pending edit is visible: the status has an older generation than the object.
        let observed = edited.status.unwrap().observed_generation;
        assert_eq!((observed, edited.metadata.generation), (Some(1), Some(2)));
        assert_eq!(found.status.unwrap().observed_generation, Some(2));
        let injected = namespace.try_dry(&pod("new", &[idle("app")])).await.unwrap();
        let sidecar = &injected["spec"]["initContainers"][0]["env"];
        assert!(
            sidecar.as_array().unwrap().contains(&json!({"name": "FRAMEBUFFER_SIZE", "value": "2Mi"})),
            "{sidecar}"
        );
    });
}

#[test]
fn pods_of_a_framebuffer_that_is_not_rendered_yet_are_refused_with_that_reason_and_created_within_seconds() {
    alone(async |namespace| {
        if !injects_by_itself() {
            return;
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        scale(namespace, 0).await;
        // Again, as a new one: the name is bound, and the status empty.
        namespace.api::<FrameBuffer>().delete(RING, &DeleteParams::default()).await.unwrap();
        namespace
            .until("it is gone", async || namespace.api::<FrameBuffer>().get_opt(RING).await.unwrap().is_none())
            .await;
        namespace.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        // And one whose name nobody has had yet.
        let unheard = format!("unheard-of-{}", &namespace.name[namespace.name.len() - 5..]);
        namespace.accept(&named(&unheard)).await;
        let just_created = namespace.try_dry(&pod("early", &[idle("app")])).await;
        let unbound = namespace.try_dry(&asking(pod("early", &[idle("app")]), &unheard)).await;
        namespace.accept(&workload("Deployment", "bound", &[idle("app")])).await;
        namespace.accept(&asking(workload("Deployment", "unbound", &[idle("app")]), &unheard)).await;
        let back = Instant::now();
        scale(namespace, 2).await;
        for name in ["bound", "unbound"] {
            namespace.wait(name, "to be available", available).await;
            measured(&format!("its {name} pod was available {:?} after the operator was started", back.elapsed()));
        }
        let message = just_created.unwrap_err().to_string();
        assert!(
            message.contains(&format!("FrameBuffer `{RING}` has no rendering: the operator writes one within")),
            "{message}"
        );
        let message = unbound.unwrap_err().to_string();
        let expected = format!(
            "FrameBuffer `{unheard}` does not exist in namespace `{}`, or its name is not bound yet",
            namespace.name
        );
        assert!(message.contains(&expected), "{message}");
        assert!(namespace.pods().await.iter().all(has_sidecar), "a labelled pod has no sidecar");
    });
}

#[test]
fn a_framebuffer_and_its_deployment_can_be_created_at_once() {
    in_namespace(async |namespace| {
        let name = format!("at-once-{}", &namespace.name[namespace.name.len() - 5..]);
        let start = Instant::now();
        namespace.accept(&named(&name)).await;
        namespace.accept(&asking(workload("Deployment", "app", &[idle("app")]), &name)).await;
        namespace.wait("app", "to be available", available).await;
        measured(&format!("a pod created together with its FrameBuffer was available after {:?}", start.elapsed()));
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        assert!(namespace.pods().await.iter().all(has_sidecar));
    });
}

#[test]
fn a_binding_comes_and_goes_with_its_name_and_is_restored_after_an_edit() {
    in_namespace(async |namespace| {
        if !injects_by_itself() {
            return;
        }
        let name = format!("touched-{}", &namespace.name[namespace.name.len() - 5..]);
        namespace.declare(&named(&name)).await;
        let good = binding(namespace, &name).await.expect("a name that is ready is bound");
        let id = good.metadata.name.clone().unwrap();
        let same = async || binding(namespace, &name).await.is_some_and(|found| found.data == good.data);
        api(namespace).delete(&id, &DeleteParams::default()).await.unwrap();
        namespace.until("a deleted binding comes back", same).await;
        for edit in [
            json!({"spec": {"matchResources": {"objectSelector": {"matchLabels": {INJECT_LABEL: "other"}}}}}),
            json!({"spec": {"paramRef": {"namespace": "default"}}}),
            json!({"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}}),
        ] {
            api(namespace).patch(&id, &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
            namespace.until("an edited binding is restored", same).await;
        }
        let unlabelled = json!({"metadata": {"labels": null}});
        api(namespace).patch(&id, &PatchParams::default(), &Patch::Merge(&unlabelled)).await.unwrap();
        let labelled =
            async || binding(namespace, &name).await.is_some_and(|found| found.metadata.labels == good.metadata.labels);
        namespace.until("its labels are restored", labelled).await;
        namespace.api::<FrameBuffer>().delete(&name, &DeleteParams::default()).await.unwrap();
        namespace
            .until("the binding goes with the last of its name", async || binding(namespace, &name).await.is_none())
            .await;
    });
}

#[test]
fn a_deleted_policy_is_reported_until_an_upgrade_restores_it() {
    alone(async |namespace| {
        if !injects_by_itself() {
            return;
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        policies(namespace).delete(POLICY, &DeleteParams::default()).await.unwrap();
        let reported = |found: &FrameBuffer| {
            ready(found).is_some_and(|(ready, why)| {
                !ready && why.contains("MutatingAdmissionPolicy framebuffer-operator-inject does not exist")
            })
        };
        namespace.wait(RING, "to report it", reported).await;
        namespace
            .until("labelled pods are refused", async || namespace.try_dry(&pod("app", &[idle("app")])).await.is_err())
            .await;
        namespace.until("the bindings are gone with it", async || bindings(namespace).await.is_empty()).await;
        run_blocking(|| install(&[])).await;
        namespace
            .wait(RING, "to be ready again", |found: &FrameBuffer| ready(found).is_some_and(|(ready, _)| ready))
            .await;
        assert!(injected_once(&namespace.try_dry(&pod("app", &[idle("app")])).await.unwrap()));
    });
}

#[test]
fn no_annotation_lets_a_pod_through() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let rendered = |found: &FrameBuffer| found.status.as_ref().is_some_and(|status| status.injection.is_some());
        let found = namespace.wait(RING, "to be rendered", rendered).await;
        let annotated = |annotations: Value, ring: &str| {
            let mut pod = asking(pod("annotated", &[idle("app")]), ring);
            pod["metadata"]["annotations"] = annotations;
            pod
        };
        // Somebody says that the pod has been injected.
        let claimed = namespace.try_dry(&annotated(json!({INJECTED_ANNOTATION: hash(&found)}), RING)).await.unwrap();
        assert!(injected_once(&claimed), "{claimed:#}");
        let message = namespace.reject(&annotated(json!({INJECTED_ANNOTATION: hash(&found)}), "nothing")).await;
        assert!(message.contains("FrameBuffer `nothing` does not exist"), "{message}");
    });
}

#[test]
fn the_operator_serves_nothing_but_its_admin_port_and_keeps_no_secret() {
    in_namespace(async |namespace: &TestNamespace| {
        use framebuffer_e2e::settings::SYSTEM;
        use framebuffer_e2e::webhook::SECRET;
        use k8s_openapi::api::core::v1::Service;
        if !injects_by_itself() {
            return;
        }
        let services = namespace.api_in::<Service>(SYSTEM).list(&kube::api::ListParams::default()).await.unwrap();
        assert!(services.items.is_empty(), "{services:#?}");
        let account = format!("--as=system:serviceaccount:{SYSTEM}:framebuffer-operator");
        let asked = framebuffer_e2e::program::output(
            "kubectl",
            &["-n", SYSTEM, "auth", "can-i", "get", &format!("secret/{SECRET}"), &account],
        );
        assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "no");
    });
}
