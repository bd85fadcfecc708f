//! Pods in the shapes that real projects use, and their injection. `UPDATE_GOLDEN=1` updates the expected files.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::commands::inject_all;
use framebuffer_operator::inject::{apply, inject, template::templates, wanted};
use framebuffer_operator::render::{Rendering, Settings, render};
use framebuffer_operator::validate::validate;
use kube::ResourceExt as _;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn settings() -> Settings {
    Settings { sidecar_image: "example.com/framebuffer-sidecar:test".to_owned(), ..Settings::default() }
}

fn framebuffers() -> Vec<FrameBuffer> {
    serde_saphyr::from_multiple(&fs::read_to_string(fixtures().join("framebuffers.yaml")).unwrap()).unwrap()
}

fn rendering(name: &str) -> Rendering {
    let framebuffers = framebuffers();
    let framebuffer = framebuffers.iter().find(|framebuffer| framebuffer.name_any() == name).unwrap();
    render(&validate(framebuffer).unwrap(), &settings())
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn expect(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs; UPDATE_GOLDEN=1 updates it", path.display());
}

fn bring(pod: &mut Value, rendering: &Rendering) {
    let patch = inject(pod, rendering).unwrap().patch;
    apply(pod, &patch);
}

/// Whether everything in `original` is in `result`, in the same order.
fn kept(original: &Value, result: &Value) -> bool {
    match (original, result) {
        (Value::Null, _) => true,
        (Value::Object(original), Value::Object(result)) => {
            original.iter().all(|(key, value)| result.get(key).is_some_and(|result| kept(value, result)))
        }
        (Value::Array(original), Value::Array(result)) => {
            let mut rest = result.iter();
            original.iter().all(|value| rest.any(|result| kept(value, result)))
        }
        (original, result) => original == result,
    }
}

#[test]
fn every_pod_is_injected_as_expected() {
    assert!(files("pods").len() >= 10);
    for path in files("pods") {
        let (yaml, notes) = inject_all(&fs::read_to_string(&path).unwrap(), &framebuffers(), &settings()).unwrap();
        let notes = notes.iter().fold(String::new(), |notes, note| notes + "# " + note + "\n");
        expect(&fixtures().join("injected").join(path.file_name().unwrap()), &(notes + &yaml));
    }
}

#[test]
fn injection_only_adds() {
    for path in files("pods") {
        let original = read(&path);
        let mut pod = original.clone();
        let injection = inject(&pod, &rendering(wanted(&pod).unwrap())).unwrap();
        apply(&mut pod, &injection.patch);
        assert!(kept(&original, &pod), "{}", path.display());
        let patch = serde_json::to_value(&injection.patch).unwrap();
        assert!(patch.as_array().unwrap().iter().all(|operation| operation["op"] == "add"));
    }
}

#[test]
fn an_injected_pod_is_left_alone() {
    for path in files("pods") {
        let mut pod = read(&path);
        let rendering = rendering(wanted(&pod).unwrap());
        let injection = inject(&pod, &rendering).unwrap();
        apply(&mut pod, &injection.patch);
        let again = inject(&pod, &rendering).unwrap();
        assert_eq!(again.patch, [], "{}", path.display());
        assert_eq!(again.warnings, injection.warnings, "{}", path.display());
    }
}

#[test]
fn the_sidecar_comes_first() {
    for path in files("pods") {
        let mut pod = read(&path);
        let rendering = rendering(wanted(&pod).unwrap());
        bring(&mut pod, &rendering);
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "framebuffer-sidecar", "{}", path.display());
    }
}

#[test]
fn every_denial_says_what_to_do() {
    for path in files("denied") {
        let pod = read(&path);
        let denial = inject(&pod, &rendering(wanted(&pod).unwrap())).unwrap_err();
        expect(&path.with_extension("txt"), &format!("{denial}\n"));
    }
}

#[test]
fn a_workload_gets_what_its_pods_would_get() {
    let pod = read(&fixtures().join("pods/02-init-containers.yaml"));
    let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    let mut injected = template.clone();
    apply(&mut injected, &inject(&template, &rendering("ring")).unwrap().patch);
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout"];
    let workloads = kinds.map(|kind| json!({"kind": kind, "metadata": {"name": "w"}, "spec": {"template": template}}));
    let cron = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}});
    let list = json!({"kind": "List", "items": [cron, template]});
    let service = json!({"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let documents: Vec<&Value> = workloads.iter().chain([&list, &service]).collect();
    let yaml: Vec<String> = documents.iter().map(|document| serde_saphyr::to_string(document).unwrap()).collect();
    let (yaml, notes) = inject_all(&yaml.join("---\n"), &framebuffers(), &settings()).unwrap();
    let results: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    for result in &results[..kinds.len()] {
        assert_eq!(result["spec"]["template"], injected, "{}", result["kind"]);
    }
    assert_eq!(results[kinds.len()]["items"][0]["spec"]["jobTemplate"]["spec"]["template"], injected);
    assert_eq!(results[kinds.len()]["items"][1], injected);
    assert_eq!(results[kinds.len() + 1], service);
    assert_eq!(notes, ["Service s: asks for no ring (label framebuffer.dev/inject), left as it is"]);
}

#[test]
fn what_is_no_pod_has_no_template() {
    assert_eq!(templates(&json!({"spec": {"template": {"spec": {"containers": "none"}}}})), Vec::<String>::new());
    assert_eq!(templates(&json!(null)), Vec::<String>::new());
    assert_eq!(templates(&json!({"kind": "Pod", "spec": {"containers": []}})), [""]);
}

#[test]
fn an_unknown_framebuffer_is_an_error() {
    let yaml =
        "kind: Pod\nmetadata: {name: p, labels: {framebuffer.dev/inject: nope}}\nspec: {containers: [{name: a}]}\n";
    let error = inject_all(yaml, &framebuffers(), &settings()).unwrap_err();
    let message = format!("{error:#}");
    assert_eq!(message, "failed to inject Pod p: there is no FrameBuffer `nope` in the file given by --framebuffer");
}

#[test]
fn a_container_that_another_webhook_adds_later_gets_the_ring_too() {
    let mut pod = read(&fixtures().join("pods/01-plain.yaml"));
    let rendering = rendering("ring");
    bring(&mut pod, &rendering);
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "proxy", "image": "example.com/proxy:1"}));
    // And rewrites the registry of our image, as mirrors do.
    pod["spec"]["initContainers"][0]["image"] = json!("mirror.example.com/framebuffer-sidecar:test");
    let injection = inject(&pod, &rendering).unwrap();
    apply(&mut pod, &injection.patch);
    assert_eq!(pod["spec"]["containers"][1]["volumeMounts"][0]["mountPath"], "/dev/shm");
    assert_eq!(pod["spec"]["containers"][1]["env"][0]["name"], "FRAMEBUFFER_URL");
    assert_eq!(pod["spec"]["initContainers"].as_array().unwrap().len(), 1);
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_pod_injected_by_hand_gets_only_the_annotation() {
    let mut pod = read(&fixtures().join("pods/01-plain.yaml"));
    let rendering = rendering("ring");
    bring(&mut pod, &rendering);
    pod["metadata"].as_object_mut().unwrap().remove("annotations");
    pod["spec"]["initContainers"][0]["terminationMessagePath"] = json!("/dev/termination-log");
    let patch = serde_json::to_value(inject(&pod, &rendering).unwrap().patch).unwrap();
    let annotations = json!({"framebuffer.dev/injected": rendering.hash});
    assert_eq!(patch, json!([{"op": "add", "path": "/metadata/annotations", "value": annotations}]));
}

#[test]
fn a_pod_with_an_earlier_injection_is_left_as_it_is_with_a_warning() {
    let mut pod = read(&fixtures().join("pods/01-plain.yaml"));
    let mut rendering = rendering("ring");
    bring(&mut pod, &rendering);
    rendering.hash = "0123456789abcdef".to_owned();
    let injection = inject(&pod, &rendering).unwrap();
    assert_eq!(injection.patch, []);
    assert!(injection.warnings[0].ends_with("today's hash is 0123456789abcdef"), "{:?}", injection.warnings);
}

#[test]
fn a_static_pod_is_left_alone_with_a_warning() {
    let mut pod = read(&fixtures().join("pods/01-plain.yaml"));
    pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let injection = inject(&pod, &rendering("ring")).unwrap();
    assert_eq!(injection.patch, []);
    assert!(injection.warnings[0].contains("static pod"));
}

#[test]
fn what_is_not_a_pod_is_denied_and_nothing_panics() {
    let spec = |spec: Value| json!({"metadata": {"labels": {}}, "spec": spec});
    let pods = [
        json!(null),
        json!([]),
        json!({"spec": 1}),
        spec(json!({"containers": {}})),
        spec(json!({"containers": [1]})),
        spec(json!({"containers": [{"env": "x"}]})),
        spec(json!({"containers": [{"name": "a", "volumeMounts": {}}]})),
        spec(json!({"containers": [{"name": "a"}], "volumes": "x"})),
        spec(json!({"containers": [{"name": "a"}], "initContainers": 7})),
        json!({"metadata": "x", "spec": {"containers": [{"name": "a"}]}}),
        json!({"metadata": {"annotations": []}, "spec": {"containers": [{"name": "a"}]}}),
    ];
    for pod in pods {
        let denial = inject(&pod, &rendering("ring")).unwrap_err();
        assert!(denial.to_string().ends_with("this is not a pod"), "{pod}: {denial}");
    }
    let mut bare = json!({"spec": {"containers": [{}]}});
    bring(&mut bare.clone(), &rendering("ring"));
    bare["metadata"] = json!(null);
    bring(&mut bare, &rendering("ring"));
}

#[test]
fn a_pod_that_loses_its_quality_of_service_gets_a_warning() {
    let warned = |resources: Value, rendering: &Rendering| {
        let mut pod = read(&fixtures().join("pods/01-plain.yaml"));
        pod["spec"]["containers"][0]["resources"] = resources;
        inject(&pod, rendering).unwrap().warnings.iter().any(|warning| warning.contains("Guaranteed"))
    };
    let guaranteed = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    assert!(warned(guaranteed.clone(), &rendering("ring")));
    assert!(!warned(json!({"limits": {"memory": "1Gi"}}), &rendering("ring")));
    let framebuffers = framebuffers();
    let settings = Settings { cpu_limit: Some("10m".to_owned()), ..settings() };
    assert!(!warned(guaranteed, &render(&validate(&framebuffers[0]).unwrap(), &settings)));
}
