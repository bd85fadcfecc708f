//! Injection of labelled pods by the API server or the webhook.

use std::fs;
use std::path::PathBuf;

use framebuffer_contract::kubernetes::{INJECT_LABEL, INJECTED_ANNOTATION, REFUSED_ANNOTATION, SIDECAR};
use framebuffer_e2e::TestNamespace;
use framebuffer_e2e::load::injected_once;
use framebuffer_e2e::manifests::{RING, framebuffer, idle, mutating_policy, plain_pod, pod, workload};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::{has_sidecar, refusal, wait_in};
use framebuffer_e2e::settings::{image, injector, root, serves_policies};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::commands::{Injected, inject_all};
use framebuffer_operator::injector::Injector;
use framebuffer_operator::render::Settings;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::{alone, in_namespace};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = root().join("operator/tests/fixtures").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    files
}

fn framebuffers() -> String {
    fs::read_to_string(root().join("operator/tests/fixtures/framebuffers.yaml")).unwrap()
}

async fn create_framebuffers(namespace: &TestNamespace) {
    for framebuffer in serde_saphyr::from_multiple::<Value>(&framebuffers()).unwrap() {
        namespace.declare(&framebuffer).await;
    }
}

/// A fixture as a pod of this namespace, with the objects that other admission requires for it.
async fn fixture(namespace: &TestNamespace, yaml: &str) -> Value {
    let mut pod: Value = serde_saphyr::from_str(yaml).unwrap();
    pod["metadata"]["namespace"] = json!(namespace.name);
    if let Some(account) = pod["spec"]["serviceAccountName"].as_str().filter(|account| *account != "default") {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
        // Several fixtures may have the same one.
        let _ = namespace.try_create(&account).await;
    }
    pod
}

/// Removes fields that differ from one creation to the next, and sorts volumes: the service account's own comes before
/// the injected one, but after one that was injected by hand.
fn comparable(mut pod: Value) -> Value {
    let metadata = pod["metadata"].as_object_mut().unwrap();
    for field in ["creationTimestamp", "managedFields", "uid", "resourceVersion", "name", "generateName"] {
        metadata.remove(field);
    }
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(INJECT_LABEL);
    }
    if metadata.get("labels") == Some(&json!({})) {
        metadata.remove("labels");
    }
    // The volume of the service account's token has a random name.
    let text = pod.to_string();
    let text = text.split("kube-api-access-").enumerate().map(|(part, text)| if part == 0 { text } else { &text[5..] });
    let mut pod: Value = serde_json::from_str(&text.collect::<Vec<_>>().join("kube-api-access-")).unwrap();
    let spec = &mut pod["spec"];
    sort_by(&mut spec["volumes"], "name");
    for containers in ["containers", "initContainers"] {
        for container in spec[containers].as_array_mut().into_iter().flatten() {
            sort_by(&mut container["volumeMounts"], "mountPath");
        }
    }
    pod
}

fn sort_by(list: &mut Value, field: &str) {
    if let Some(items) = list.as_array_mut() {
        items.sort_by_key(|item| item[field].as_str().map(str::to_owned));
    }
}

#[test]
fn the_cluster_and_the_command_inject_make_the_same_pod_of_every_fixture() {
    in_namespace(async |namespace| {
        create_framebuffers(namespace).await;
        let framebuffers: Vec<FrameBuffer> = serde_saphyr::from_multiple(&framebuffers()).unwrap();
        let settings = Settings {
            sidecar_image: image("sidecar"),
            pull_policy: Some("IfNotPresent".into()),
            ..Settings::default()
        };
        let files = fixtures("pods");
        assert!(files.len() >= 10);
        for path in files {
            let pod = fixture(namespace, &fs::read_to_string(&path).unwrap()).await;
            let Injected { yaml: by_hand, .. } =
                inject_all(&serde_saphyr::to_string(&pod).unwrap(), &framebuffers, &settings).unwrap();
            let mut by_hand: Value = serde_saphyr::from_str(&by_hand).unwrap();
            // Without the label the cluster does not inject it.
            by_hand["metadata"]["labels"].as_object_mut().unwrap().remove(INJECT_LABEL);
            let shown = path.display();
            let injected = namespace.try_dry(&pod).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
            let by_hand = namespace.try_dry(&by_hand).await.unwrap_or_else(|error| panic!("{shown}, by hand: {error}"));
            assert_eq!(injected["spec"]["initContainers"][0]["name"], SIDECAR, "{shown}");
            let (injected, by_hand) = (comparable(injected), comparable(by_hand));
            assert_eq!(injected, by_hand, "{shown}:\n{injected:#}\n{by_hand:#}");
        }
    });
}

#[test]
fn a_pod_that_brings_an_injection_along_is_not_injected_again() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let declared = [namespace.api::<FrameBuffer>().get(RING).await.unwrap()];
        let made = |sidecar: String| {
            let settings =
                Settings { sidecar_image: sidecar, pull_policy: Some("IfNotPresent".into()), ..Settings::default() };
            let pod = serde_saphyr::to_string(&pod("made", &[idle("app")])).unwrap();
            let Injected { yaml, .. } = inject_all(&pod, &declared, &settings).unwrap();
            serde_saphyr::from_str::<Value>(&yaml).unwrap()
        };
        // The current injection is complete; another one is left alone.
        for (sidecar, lacking) in
            [(image("sidecar"), false), ("example.com/sidecar:0".to_owned(), false), (image("sidecar"), true)]
        {
            let mut brought = made(sidecar.clone());
            if lacking {
                brought["metadata"].as_object_mut().unwrap().remove("annotations");
                brought["spec"]["containers"][0].as_object_mut().unwrap().remove("env");
            }
            let created = namespace.try_dry(&brought).await.unwrap();
            assert!(injected_once(&created), "{created:#}");
            assert_eq!(created["spec"]["initContainers"][0]["image"], *sidecar, "{created:#}");
            assert_eq!(created["metadata"]["annotations"], made(sidecar)["metadata"]["annotations"]);
        }
        // The mirror of a static pod.
        let mut mirror = pod("static", &[idle("app")]);
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        mirror["spec"]["nodeName"] = json!("somewhere");
        let created = namespace.try_dry(&mirror).await.unwrap();
        assert_eq!(created["spec"].get("initContainers"), None, "{created:#}");
    });
}

#[test]
fn a_pod_of_thirty_containers_with_a_hundred_variables_each_is_injected() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let container = |number: usize| {
            let mut container = idle(&format!("app-{number}"));
            let variables = (0..100).map(|variable| json!({"name": format!("VARIABLE_{variable}"), "value": "x"}));
            container["env"] = variables.collect();
            container["ports"] = (0..20).map(|port| json!({"containerPort": 10_000 + number * 20 + port})).collect();
            container
        };
        let containers: Vec<Value> = (0..30).map(container).collect();
        let created = namespace.try_dry(&pod("large", &containers)).await.unwrap();
        assert!(injected_once(&created));
        assert_eq!(created["spec"]["containers"][29]["env"].as_array().unwrap().len(), 102);
        assert_eq!(created["spec"]["containers"][29]["env"][1]["name"], "FRAMEBUFFER_DIR");
    });
}

#[test]
fn every_pod_that_cannot_have_the_ring_is_refused_with_the_message_of_its_fixture() {
    in_namespace(async |namespace| {
        create_framebuffers(namespace).await;
        for path in fixtures("denied") {
            let pod = fixture(namespace, &fs::read_to_string(&path).unwrap()).await;
            let message = refusal(namespace.try_dry(&pod).await, &pod);
            let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
            assert!(message.contains(expected.trim()), "{}: {message}", path.display());
            let who = match injector() {
                Injector::Webhook => "inject.framebuffer.dev",
                Injector::Policy => "framebuffer-operator-injected",
            };
            assert!(message.contains(who), "{}: {message}", path.display());
        }
    });
}

#[test]
fn a_user_who_says_that_a_pod_was_refused_does_not_keep_it_out() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let mut claimed = pod("claimed", &[idle("app")]);
        claimed["metadata"]["annotations"] = json!({REFUSED_ANNOTATION: "so it was"});
        let created = namespace.try_dry(&claimed).await.unwrap();
        assert!(injected_once(&created), "{created:#}");
        // Nor does it hide why a pod is refused.
        claimed["spec"]["containers"][0]["ports"] = json!([{"containerPort": 7570}]);
        let message = refusal(namespace.try_dry(&claimed).await, &claimed);
        assert!(message.contains("container `app` has port 7570"), "{message}");
    });
}

#[test]
fn a_pod_without_the_label_is_left_as_it_is() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let pod = namespace.accept(&plain_pod("plain", &[idle("app")])).await;
        assert_eq!(pod["spec"].get("initContainers"), None);
        assert!(!pod.to_string().contains("framebuffer"), "{pod:#}");
    });
}

#[test]
fn a_field_that_is_unknown_to_the_operator_survives() {
    in_namespace(async |namespace| {
        if !serves_policies() {
            return measured(
                "not tested: a field that is unknown to the operator; this cluster does not know it either",
            );
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        // Newer than the operator's types, which are those of Kubernetes 1.33.
        let mut pod = pod("new", &[idle("app")]);
        pod["spec"]["hostnameOverride"] = json!("camera");
        let mut bare = pod.clone();
        bare["metadata"]["labels"] = json!({});
        let known = namespace.try_dry(&bare).await.unwrap()["spec"]["hostnameOverride"] == "camera";
        let pod = namespace.try_dry(&pod).await.unwrap();
        assert_eq!(pod["spec"]["initContainers"][0]["name"], SIDECAR);
        assert!(known, "this Kubernetes does not know the field either: the test shows nothing");
        assert_eq!(pod["spec"]["hostnameOverride"], "camera");
    });
}

#[test]
fn a_pod_whose_framebuffer_is_missing_is_refused_and_created_after_it_appears() {
    in_namespace(async |namespace| {
        let message = namespace.reject(&pod("early", &[idle("app")])).await;
        let expected = format!("FrameBuffer `{RING}` does not exist in namespace `{}`", namespace.name);
        assert!(message.contains(&expected), "{message}");
        namespace.accept(&workload("Deployment", "early", &[idle("app")])).await;
        namespace
            .until("an event says why there is no pod", async || {
                let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
                events.iter().any(|event| event.message.as_deref().is_some_and(|text| text.contains(&expected)))
            })
            .await;
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let available = |found: &Deployment| found.status.as_ref().and_then(|status| status.available_replicas);
        namespace.wait("early", "to be available", |found: &Deployment| available(found) == Some(1)).await;
        assert!(namespace.pods().await.iter().all(has_sidecar));
    });
}

#[test]
fn every_kind_of_owner_gets_pods_with_the_ring() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            namespace.accept(&workload(kind, &kind.to_lowercase(), &[idle("app")])).await;
        }
        let mut template = pod("any", &[framebuffer_e2e::manifests::script("app", "ls /dev/shm/framebuffer-*")]);
        let template = json!({"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"].take()});
        let job = json!({"template": template});
        namespace
            .accept(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": job}))
            .await;
        let cron = json!({"schedule": "* * * * *", "jobTemplate": {"spec": job}});
        namespace
            .accept(&json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron"}, "spec": cron}))
            .await;
        for owner in ["deployment-", "statefulset-", "daemonset-", "job-", "cron-"] {
            namespace
                .until(&format!("{owner} has a pod that runs with its ring"), async || {
                    let pods = namespace.pods().await;
                    pods.iter().any(|pod| {
                        let ended = framebuffer_e2e::namespace::phase(pod) == "Succeeded";
                        let named = pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(owner));
                        named && has_sidecar(pod) && (ended || framebuffer_e2e::namespace::is_ready(pod))
                    })
                })
                .await;
        }
    });
}

/// A `MutatingAdmissionPolicy` stands for whatever else changes pods: it adds a container, as service meshes do.
#[test]
fn a_container_that_other_admission_adds_gets_the_ring_too() {
    alone(async |namespace| {
        if !serves_policies() {
            return measured("not tested: a policy that adds a container; this cluster has no such policies");
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let added = format!(
            "[JSONPatch{{op: 'add', path: '/spec/containers/-', value: Object.spec.containers{{name: 'mesh', \
             image: '{}', command: ['/bin/sleep', '1000']}}}}]",
            framebuffer_e2e::settings::busybox()
        );
        let once = "!object.spec.containers.exists(container, container.name == 'mesh')";
        let spec = json!({
            "matchConditions": [{"name": "once", "expression": once}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": added}}],
        });
        let [policy, binding] = mutating_policy(&namespace.name, spec);
        for manifest in [&policy, &binding] {
            namespace.accept_in_cluster(manifest).await;
        }
        let meshed = pod("meshed", &[idle("app")]);
        let mut created = namespace.try_dry(&meshed).await;
        let deadline = std::time::Instant::now() + framebuffer_e2e::namespace::PATIENCE;
        // The API server takes a moment to know a new policy.
        while created.as_ref().is_ok_and(|pod| pod["spec"]["containers"].as_array().unwrap().len() < 2)
            && std::time::Instant::now() < deadline
        {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            created = namespace.try_dry(&meshed).await;
        }
        namespace.delete_in_cluster(&binding).await;
        namespace.delete_in_cluster(&policy).await;
        let created = created.unwrap();
        let containers = created["spec"]["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 2, "the policy added nothing: {created:#}");
        for container in containers {
            let mounts = container["volumeMounts"].as_array().unwrap();
            assert!(mounts.iter().any(|mount| mount["mountPath"] == "/dev/shm"), "{container:#}");
            assert_eq!(container["env"][0]["name"], "FRAMEBUFFER_URL", "{container:#}");
        }
        assert_eq!(created["spec"]["initContainers"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn the_framebuffer_counts_its_pods_and_says_what_it_injects() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        for name in ["one", "two"] {
            namespace.accept(&pod(name, &[idle("app")])).await;
        }
        let counted = |found: &FrameBuffer| counts(found) == Some((2, 2, 0)) && is_ready(found);
        let found = namespace.wait(RING, "to be ready with two ready pods", counted).await;
        let hash = found.status.unwrap().injection.unwrap().hash;
        let pods: Vec<Pod> = namespace.pods().await;
        assert!(pods.iter().all(|pod| pod.metadata.annotations.as_ref().unwrap()[INJECTED_ANNOTATION] == hash));
        namespace.api::<Pod>().delete("one", &DeleteParams::default()).await.unwrap();
        namespace.wait(RING, "to count one pod", |found: &FrameBuffer| counts(found) == Some((1, 1, 0))).await;
    });
}

#[test]
fn an_invalid_framebuffer_is_refused_by_its_schema() {
    in_namespace(async |namespace| {
        for (spec, words) in [
            (json!({"size": "1Ki"}), "size must be from 64Ki to 1Ti"),
            (json!({"size": "2Ti"}), "size must be from 64Ki to 1Ti"),
            (json!({"size": "much"}), "spec.size"),
            (json!({"size": "1Mi", "mountPath": "/proc/x"}), "mountPath must not hide"),
            (json!({"size": "1Mi", "sidecar": {"port": 7000, "adminPort": 7000}}), "must differ"),
            (json!({}), "spec.size"),
        ] {
            let message = namespace.reject(&framebuffer(&spec)).await;
            assert!(message.contains(words), "{spec}: {message}");
        }
    });
}

fn counts(framebuffer: &FrameBuffer) -> Option<(i32, i32, i32)> {
    framebuffer.status.as_ref()?.pods.map(|pods| (pods.matched, pods.ready, pods.outdated))
}

fn is_ready(framebuffer: &FrameBuffer) -> bool {
    let conditions = framebuffer.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[test]
fn the_crd_is_the_one_of_the_repository() {
    in_namespace(async |namespace| {
        use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
        let name = "framebuffers.framebuffer.dev";
        let established = |crd: &CustomResourceDefinition| {
            let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
        };
        let crd: CustomResourceDefinition = wait_in(namespace.api_all(), name, "to be established", established).await;
        assert_eq!(crd.spec.names.short_names, Some(vec!["fb".to_owned()]));
    });
}
