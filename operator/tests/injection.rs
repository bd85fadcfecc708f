//! Pods in the shapes that real projects use, and their injection. `UPDATE_GOLDEN=1` updates the expected files.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::commands::{Injected, inject_all};
use framebuffer_operator::inject::{apply, inject, template::find, wanted};
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
        let Injected { yaml, notes, .. } =
            inject_all(&fs::read_to_string(&path).unwrap(), &framebuffers(), &settings()).unwrap();
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
    let Injected { yaml, notes, summary } = inject_all(&yaml.join("---\n"), &framebuffers(), &settings()).unwrap();
    let results: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    for result in &results[..kinds.len()] {
        assert_eq!(result["spec"]["template"], injected, "{}", result["kind"]);
    }
    assert_eq!(results[kinds.len()]["items"][0]["spec"]["jobTemplate"]["spec"]["template"], injected);
    assert_eq!(results[kinds.len()]["items"][1], injected);
    assert_eq!(results[kinds.len() + 1], service);
    assert_eq!(notes, ["Service s: asks for no ring (label framebuffer.dev/inject), left as it is"]);
    assert_eq!(summary, "injected 8 of 8 pod templates in 8 documents");
}

#[test]
fn what_is_no_pod_has_no_template() {
    let templates = |manifest: Value| find(&manifest).templates;
    assert_eq!(templates(json!({"spec": {"template": {"spec": {"containers": "none"}}}})), Vec::<String>::new());
    assert_eq!(templates(json!(null)), Vec::<String>::new());
    assert_eq!(templates(json!({"kind": "Pod", "spec": {"containers": []}})), [""]);
}

/// Manifests of custom kinds, with their pod templates at these paths.
fn custom_kinds(template: &Value) -> Vec<(Value, Vec<&'static str>)> {
    let kind = |kind: &str, spec: Value| json!({"kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let ray = json!({"headGroupSpec": {"template": template}, "workerGroupSpecs": [{"template": template}]});
    let groups = json!({"leaderWorkerTemplate": {"leaderTemplate": template, "workerTemplate": template}});
    let mpi = json!({"mpiReplicaSpecs": {"Launcher": {"template": template}, "Worker": {"template": template}}});
    let jobs = json!({"replicatedJobs": [{"name": "a", "template": {"spec": {"template": template}}}]});
    vec![
        (kind("RayCluster", ray), vec!["/spec/headGroupSpec/template", "/spec/workerGroupSpecs/0/template"]),
        (
            kind("LeaderWorkerSet", groups),
            vec!["/spec/leaderWorkerTemplate/leaderTemplate", "/spec/leaderWorkerTemplate/workerTemplate"],
        ),
        (kind("MPIJob", mpi), vec!["/spec/mpiReplicaSpecs/Launcher/template", "/spec/mpiReplicaSpecs/Worker/template"]),
        (kind("JobSet", jobs), vec!["/spec/replicatedJobs/0/template/spec/template"]),
        (kind("Rollout", json!({"template": template})), vec!["/spec/template"]),
        (kind("Service", json!({"template": template})), vec!["/spec/template"]),
        (kind("Any", json!({"a/b~c": [[{"d": template}]]})), vec!["/spec/a~1b~0c/0/0/d"]),
    ]
}

#[test]
fn pod_templates_of_custom_kinds_are_injected_wherever_they_are_and_nothing_else_changes() {
    let pod = read(&fixtures().join("pods/02-init-containers.yaml"));
    let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    let mut injected = template.clone();
    bring(&mut injected, &rendering("ring"));
    for (mut manifest, paths) in custom_kinds(&template) {
        let yaml = serde_saphyr::to_string(&manifest).unwrap();
        let Injected { yaml, notes, summary } = inject_all(&yaml, &framebuffers(), &settings()).unwrap();
        assert!(!notes.iter().any(|note| note.contains("asks for no ring")), "{notes:?}");
        assert!(summary.starts_with(&format!("injected {0} of {0} pod templates", paths.len())), "{summary}");
        for path in paths {
            *manifest.pointer_mut(path).unwrap() = injected.clone();
        }
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), manifest);
    }
}

#[test]
fn a_label_that_is_not_that_of_a_pod_template_is_never_passed_over_in_silence() {
    let labels = json!({"labels": {"framebuffer.dev/inject": "ring"}});
    let template = json!({"spec": {"containers": [{"name": "a"}]}});
    let machine = json!({"template": {"metadata": labels, "spec": {"domain": {}}}});
    let strays = [
        (json!({"kind": "Deployment", "metadata": labels, "spec": {"template": template}}), "/metadata/labels"),
        (
            json!({"kind": "VirtualMachine", "metadata": {"name": "v"}, "spec": machine}),
            "/spec/template/metadata/labels",
        ),
        (json!({"kind": "Prometheus", "spec": {"podMetadata": labels}}), "/spec/podMetadata/labels"),
    ];
    for (manifest, path) in strays {
        let yaml = serde_saphyr::to_string(&manifest).unwrap();
        let Injected { yaml, notes, summary } = inject_all(&yaml, &framebuffers(), &settings()).unwrap();
        assert!(notes.len() == 1 && notes[0].contains(&format!("warning: the label framebuffer.dev/inject at {path}")));
        assert!(summary.starts_with("injected 0 of"), "{summary}");
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), manifest);
    }
    let selector = json!({"kind": "Service", "spec": {"selector": {"framebuffer.dev/inject": "ring"}}});
    assert_eq!(find(&selector).strays, Vec::<String>::new());
}

#[test]
fn empty_documents_comments_and_documents_that_are_no_objects_do_no_harm() {
    let pod =
        "kind: Pod\nmetadata: {name: p, labels: {framebuffer.dev/inject: ring}}\nspec: {containers: [{name: a}]}\n";
    let yaml = format!("# a chart\n---\n---\n# Source: x.yaml\n{pod}---\n# nothing\n---\n- 1\n---\ntext\n");
    let Injected { yaml, notes, summary } = inject_all(&yaml, &framebuffers(), &settings()).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    assert_eq!(documents[1..], [json!([1]), json!("text")]);
    assert_eq!(documents[0]["spec"]["initContainers"][0]["name"], "framebuffer-sidecar");
    assert_eq!(summary, "injected 1 of 1 pod templates in 3 documents");
    assert_eq!(notes.len(), 2, "{notes:?}");
}

/// A value of any shape, with pod templates here and there; repeatable.
fn any(seed: &mut u64, depth: u32, template: &Value) -> Value {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let choice = (*seed >> 33) % 8;
    match choice {
        0 => template.clone(),
        1 => json!(*seed >> 40),
        2 => json!("text: # with a comment"),
        3 if depth > 0 => (0..3).map(|_| any(seed, depth - 1, template)).collect(),
        _ if depth > 0 => {
            let names = ["spec", "template", "metadata", "items", "a/b", "c~d"];
            let fields = names.iter().take(1 + choice as usize % 6);
            fields
                .map(|name| ((*name).to_owned(), any(seed, depth - 1, template)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        _ => json!(true),
    }
}

/// The manifest with `injected` in place of each `template`.
fn replaced(value: &Value, template: &Value, injected: &Value) -> Value {
    match value {
        value if value == template => injected.clone(),
        Value::Array(items) => items.iter().map(|item| replaced(item, template, injected)).collect(),
        Value::Object(fields) => {
            let replaced = |(name, field): (&String, &Value)| (name.clone(), replaced(field, template, injected));
            Value::Object(fields.iter().map(replaced).collect())
        }
        value => value.clone(),
    }
}

#[test]
fn whatever_the_manifest_nothing_but_the_templates_changes_and_each_of_them_does() {
    let pod = read(&fixtures().join("pods/01-plain.yaml"));
    let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    let mut injected = template.clone();
    bring(&mut injected, &rendering("ring"));
    let mut seed = 7;
    for _ in 0..200 {
        let manifest = any(&mut seed, 4, &template);
        let yaml = serde_saphyr::to_string(&manifest).unwrap();
        let Injected { yaml, .. } = inject_all(&yaml, &framebuffers(), &settings()).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), replaced(&manifest, &template, &injected));
    }
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

#[test]
fn a_pod_that_asks_for_nodes_that_cannot_run_the_sidecars_image_gets_a_warning() {
    let mut pod = read(&fixtures().join("pods/01-plain.yaml"));
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    let settings = Settings { architectures: vec!["amd64".to_owned()], ..settings() };
    let warnings = inject(&pod, &render(&validate(&framebuffers()[0]).unwrap(), &settings)).unwrap().warnings;
    assert!(matches!(&warnings[..], [warning] if warning.contains("asks for nodes of arm64")), "{warnings:?}");
}
