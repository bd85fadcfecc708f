//! What the API server takes as `status.injection`, in policy mode: the operator's rendering of the spec, and nothing
//! else. It is refused to everybody else too, the administrator that these tests are.

use framebuffer_e2e::cluster::{install, restoring};
use framebuffer_e2e::manifests::{RING, framebuffer};
use framebuffer_e2e::metrics::measured;
use framebuffer_e2e::namespace::size;
use framebuffer_e2e::operator::scale;
use framebuffer_e2e::program::run_blocking;
use framebuffer_e2e::settings::{image, injector, root};
use framebuffer_e2e::{TestNamespace, alone, in_namespace};
use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::injector::Injector;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The fixtures, and what takes other branches of the renderer.
fn framebuffers() -> Vec<Value> {
    let fixtures = root().join("operator/tests/fixtures/framebuffers.yaml");
    let mut all: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(fixtures).unwrap()).unwrap();
    let resources = |resources: Value| json!({"size": "1Mi", "sidecar": {"resources": resources}});
    for (name, spec) in [
        ("smallest", json!({"size": "64Ki"})),
        ("largest", json!({"size": "1Ti", "mountPath": "/a/b.c_d-e"})),
        ("limits", resources(json!({"limits": {"cpu": "5m", "memory": "64Mi"}}))),
        ("requests", resources(json!({"requests": {"cpu": "0.5", "memory": "0.1G"}}))),
        ("cpu", resources(json!({"limits": {"cpu": "2"}}))),
    ] {
        let mut declared = framebuffer(&spec);
        declared["metadata"]["name"] = json!(name);
        all.push(declared);
    }
    all
}

/// Whether the API server would take this as `status.injection`; if not, why.
pub(crate) async fn takes(namespace: &TestNamespace, name: &str, injection: &Value) -> Result<(), String> {
    let patch = json!([{"op": "add", "path": "/status/injection", "value": injection}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).unwrap());
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    match namespace.api::<FrameBuffer>().patch_status(name, &dry, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refused)) => Err(refused.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

/// What it injects.
pub(crate) async fn injection(namespace: &TestNamespace, name: &str) -> Value {
    let found = namespace.api::<FrameBuffer>().get(name).await.unwrap();
    serde_json::to_value(found.status.unwrap().injection.unwrap()).unwrap()
}

/// Every way to change one place: each value, changed, emptied and removed; each object and list with something added;
/// each list in another order. With a description. The schema drops unknown fields beside `sidecar`
/// and in `imagePullSecrets`.
pub(crate) fn changes(injection: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    collect(injection, "", &mut places);
    let mut all = Vec::new();
    for place in places {
        let mut change = |what: &str, edit: &dyn Fn(&mut Value)| {
            let mut changed = injection.clone();
            edit(changed.pointer_mut(&place).unwrap());
            if changed != *injection {
                all.push((format!("{what} {place}"), changed));
            }
        };
        let value = injection.pointer(&place).unwrap();
        match value {
            Value::String(text) => {
                change("longer", &|value| *value = json!(format!("{text}x")));
                change("emptied", &|value| *value = json!(""));
            }
            Value::Number(number) => change("larger", &|value| *value = json!(number.as_i64().unwrap() + 1)),
            Value::Bool(yes) => change("negated", &|value| *value = json!(!yes)),
            Value::Array(items) => {
                change("emptied", &|value| *value = json!([]));
                change("twice the first of", &|value| value.as_array_mut().unwrap().push(items[0].clone()));
                change("reversed", &|value| value.as_array_mut().unwrap().reverse());
                for index in 0..items.len() {
                    change("one less in", &|value| drop(value.as_array_mut().unwrap().remove(index)));
                }
            }
            Value::Object(fields) => {
                if !place.is_empty() {
                    change("emptied", &|value| *value = json!({}));
                    // The schema knows their fields, and drops others.
                    if !place.starts_with("/imagePullSecrets") {
                        change("more in", &|value| value["readOnly"] = json!(true));
                    }
                }
                for name in fields.keys() {
                    change(&format!("without {name} in"), &|value| drop(value.as_object_mut().unwrap().remove(name)));
                }
            }
            Value::Null => {}
        }
    }
    all
}

/// The JSON pointers of all values.
fn collect(value: &Value, place: &str, places: &mut Vec<String>) {
    places.push(place.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| collect(item, &format!("{place}/{index}"), places));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| collect(field, &format!("{place}/{name}"), places));
        }
        _ => {}
    }
}

#[test]
fn a_rendering_passes_and_every_change_of_any_of_its_fields_is_refused() {
    in_namespace(async |namespace| {
        if injector() != Injector::Policy {
            return;
        }
        let (mut tried, mut taken) = (0, Vec::new());
        for declared in framebuffers() {
            let name = declared["metadata"]["name"].as_str().unwrap();
            // The operator's own write of it has passed.
            namespace.declare(&declared).await;
            let rendered = injection(namespace, name).await;
            for (what, changed) in changes(&rendered) {
                tried += 1;
                if takes(namespace, name, &changed).await.is_ok() {
                    taken.push(format!("{name}: {what}"));
                }
            }
        }
        measured(&format!("changes of status.injection that were tried: {tried}"));
        assert!(tried > 1000, "{tried}");
        assert!(taken.is_empty(), "accepted: {taken:#?}");
    });
}

#[test]
fn what_is_consistent_but_not_in_the_spec_is_refused_and_named() {
    in_namespace(async |namespace| {
        if injector() != Injector::Policy {
            return;
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let rendered = injection(namespace, RING).await;
        let edited = |from: &str, to: &str| {
            let text = rendered.to_string();
            assert!(text.contains(from), "{from} is not in {text}");
            serde_json::from_str::<Value>(&text.replace(from, to)).unwrap()
        };
        for (from, to, words) in [
            ("/dev/shm", "/run/elsewhere", "it differs in env, volumeMounts"),
            ("7570", "7575", "it differs in env, ports"),
            (r#""1Mi""#, r#""2Mi""#, "it differs in env"),
            (r#""sizeLimit":""#, r#""sizeLimit":"99"#, "must hold the ring, and not much more"),
            (r#""memory":""#, r#""memory":"99"#, "must hold the ring, and not much more"),
            ("IfNotPresent", "Sometimes", "must be Always, IfNotPresent or Never"),
            ("/framebuffer-sidecar\"", "/bin/sh\"", "it differs in lifecycle, readinessProbe, livenessProbe"),
            ("/framebuffer-sidecar:", "/framebuffer-sidecar-2:", "the image that the chart says"),
        ] {
            let why = takes(namespace, RING, &edited(from, to)).await.err().unwrap_or_default();
            assert!(why.contains(words), "{from} -> {to}: {why}");
        }
        // What remains: the pull policy, and the hash, which only says which pods are outdated.
        takes(namespace, RING, &edited("IfNotPresent", "Always")).await.unwrap();
        let hash = rendered["hash"].as_str().unwrap();
        takes(namespace, RING, &edited(hash, "0123456789abcdef")).await.unwrap();
    });
}

#[test]
fn a_status_that_leaves_the_injection_as_it_is_passes_whatever_the_spec_says() {
    alone(async |namespace| {
        if injector() != Injector::Policy {
            return;
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        scale(namespace, 0).await;
        let edited = namespace.merge::<FrameBuffer>(RING, &size("2Mi")).await;
        let rendered = injection(namespace, RING).await;
        let same = takes(namespace, RING, &rendered).await;
        let mut other = rendered;
        other["sidecar"]["imagePullPolicy"] = json!("Always");
        let other = takes(namespace, RING, &other).await;
        // Before anything can fail: the next test needs the operator.
        scale(namespace, 2).await;
        assert_eq!(edited.metadata.generation, Some(2));
        same.unwrap();
        assert!(other.unwrap_err().contains("it differs in env"));
    });
}

/// A rollout may hang, and until it is over a replica with the previous image may lead.
#[test]
fn the_previous_image_passes_until_the_rollout_is_over() {
    const NEXT: &[&str] = &["--set", "sidecar.image.tag=next"];
    alone(async |namespace| {
        if injector() != Injector::Policy {
            return;
        }
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        restoring(
            namespace,
            Box::pin(async {
                run_blocking(|| install(NEXT)).await;
                let new = image("sidecar").replace(":test", ":next");
                let renewed = |found: &FrameBuffer| {
                    let injection = found.status.as_ref().and_then(|status| status.injection.as_ref());
                    injection.is_some_and(|injection| injection.sidecar["image"] == *new)
                };
                namespace.wait(RING, "to be rendered with the next image", renewed).await;
                let mut previous = injection(namespace, RING).await;
                previous["sidecar"]["image"] = json!(image("sidecar"));
                takes(namespace, RING, &previous).await.expect("it is that of the replicas before the upgrade");
                run_blocking(|| install(NEXT)).await;
                namespace
                    .until("the previous image is refused", async || takes(namespace, RING, &previous).await.is_err())
                    .await;
            }),
        )
        .await;
    });
}
