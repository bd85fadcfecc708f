//! Rendered content, and the `CustomResourceDefinition`. `UPDATE_GOLDEN=1` updates the expected files.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::commands::crd_yaml;
use framebuffer_operator::render::{Probes, Rendering, Settings, render};
use framebuffer_operator::validate::validate;
use kube::{CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn expect(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs; UPDATE_GOLDEN=1 updates it", path.display());
}

fn settings() -> Settings {
    Settings { sidecar_image: "example.com/framebuffer-sidecar:test".to_owned(), ..Settings::default() }
}

#[allow(clippy::needless_pass_by_value, reason = "tests write their JSON in place")]
fn rendered(spec: Value) -> Rendering {
    let framebuffer: FrameBuffer = serde_json::from_value(json!({
        "apiVersion": "framebuffer.dev/v1alpha1", "kind": "FrameBuffer", "metadata": {"name": "ring"}, "spec": spec,
    }))
    .unwrap();
    render(&validate(&framebuffer).unwrap(), &settings())
}

#[test]
fn the_crd_in_the_repository_is_what_the_operator_prints() {
    expect(&folder().join("../crds/framebuffers.framebuffer.dev.yaml"), &crd_yaml().unwrap());
}

#[test]
fn every_framebuffer_is_rendered_as_expected() {
    let fixtures = folder().join("tests/fixtures");
    let yaml = fs::read_to_string(fixtures.join("framebuffers.yaml")).unwrap();
    let framebuffers: Vec<FrameBuffer> = serde_saphyr::from_multiple(&yaml).unwrap();
    for framebuffer in framebuffers {
        let Rendering { hash, content, architectures: _ } = render(&validate(&framebuffer).unwrap(), &settings());
        let yaml = serde_saphyr::to_string(&serde_json::to_value(content).unwrap()).unwrap();
        let path = fixtures.join(format!("rendered/{}.yaml", framebuffer.name_any()));
        expect(&path, &format!("# hash {hash}\n{yaml}"));
    }
}

/// The spec of the fixture `chosen`, which sets every field.
fn complete_spec() -> Value {
    let yaml = fs::read_to_string(folder().join("tests/fixtures/framebuffers.yaml")).unwrap();
    let framebuffers: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    framebuffers.into_iter().find(|framebuffer| framebuffer["metadata"]["name"] == "chosen").unwrap()["spec"].take()
}

/// JSON pointers of all fields without fields of their own, according to a schema.
fn fields(schema: &Value, path: &str) -> Vec<String> {
    match schema["properties"].as_object() {
        Some(all) => all.iter().flat_map(|(name, schema)| fields(schema, &format!("{path}/{name}"))).collect(),
        None => vec![path.to_owned()],
    }
}

fn all_fields() -> Vec<String> {
    let crd = serde_json::to_value(FrameBuffer::crd()).unwrap();
    fields(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "")
}

#[test]
fn a_fixture_sets_every_field_of_the_spec() {
    let spec = complete_spec();
    let missing: Vec<String> = all_fields().into_iter().filter(|field| spec.pointer(field).is_none()).collect();
    assert_eq!(missing, Vec::<String>::new(), "set them in `chosen` in tests/fixtures/framebuffers.yaml");
}

#[test]
fn the_hash_changes_with_every_field_but_those_that_are_not_injected() {
    const NOT_INJECTED: [&str; 1] = ["/updateStrategy/type"];
    let hash = |spec: &Value| rendered(spec.clone()).hash;
    let complete = hash(&complete_spec());
    for field in all_fields() {
        let mut spec = complete_spec();
        let (parent, name) = field.rsplit_once('/').unwrap();
        let parent = spec.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.remove(name);
        if field == "/size" {
            // It has no default.
            parent.insert(name.to_owned(), json!("1Gi"));
        }
        assert_eq!(complete == hash(&spec), NOT_INJECTED.contains(&field.as_str()), "{field}");
    }
}

#[test]
fn writing_a_default_out_does_not_change_the_hash() {
    let spelled_out = json!({"size": "500Mi", "mountPath": "/dev/shm", "sidecar": {"port": 7570}});
    assert_eq!(rendered(json!({"size": "500Mi"})).hash, rendered(spelled_out).hash);
}

#[test]
fn memory_is_request_and_limit_unless_the_user_says_otherwise() {
    let resources = |resources: Value| {
        let rendered = rendered(json!({"size": "1Mi", "sidecar": {"resources": resources}}));
        serde_json::to_value(rendered.content.sidecar.resources).unwrap()
    };
    let computed = json!({"limits": {"memory": "20Mi"}, "requests": {"cpu": "10m", "memory": "20Mi"}});
    assert_eq!(resources(json!({})), computed);
    let limited = resources(json!({"limits": {"memory": "1Gi", "cpu": "5m"}}));
    let expected = json!({"limits": {"cpu": "5m", "memory": "1Gi"}, "requests": {"cpu": "5m", "memory": "1Gi"}});
    assert_eq!(limited, expected);
    let requested = resources(json!({"requests": {"memory": "1Gi"}}));
    assert_eq!(requested, json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "10m", "memory": "1Gi"}}));
}

#[test]
fn probes_by_http_ask_for_what_healthcheck_asks_for_as_often_and_nothing_else_differs() {
    let framebuffer: FrameBuffer = serde_json::from_value(json!({
        "apiVersion": "framebuffer.dev/v1alpha1", "kind": "FrameBuffer", "metadata": {"name": "ring"},
        "spec": complete_spec(),
    }))
    .unwrap();
    let rendered = |probes| {
        let rendering = render(&validate(&framebuffer).unwrap(), &Settings { probes, ..settings() });
        (rendering.hash, serde_json::to_value(rendering.content).unwrap())
    };
    let [(exec_hash, mut exec), (http_hash, mut http)] = [Probes::Exec, Probes::Http].map(rendered);
    assert_ne!(exec_hash, http_hash);
    for probe in ["readinessProbe", "livenessProbe"] {
        let handler = |content: &mut Value, name: &str| content["sidecar"][probe].as_object_mut().unwrap().remove(name);
        let healthcheck = json!({"command": ["/framebuffer-sidecar", "healthcheck"]});
        assert_eq!(handler(&mut exec, "exec"), Some(healthcheck));
        assert_eq!(handler(&mut http, "httpGet"), Some(json!({"path": "/readyz", "port": "fb-admin"})));
    }
    assert_eq!(exec, http);
}

#[test]
fn the_operators_settings_apply_where_the_framebuffer_says_nothing() {
    let settings = Settings {
        pull_secrets: vec!["registry".to_owned()],
        platform_user: true,
        cpu_limit: Some("20m".to_owned()),
        ..settings()
    };
    let content = |spec: Value| {
        let framebuffer: FrameBuffer = serde_json::from_value(json!({
            "apiVersion": "framebuffer.dev/v1alpha1", "kind": "FrameBuffer", "metadata": {"name": "ring"}, "spec": spec,
        }))
        .unwrap();
        serde_json::to_value(render(&validate(&framebuffer).unwrap(), &settings).content).unwrap()
    };
    let plain = content(json!({"size": "1Mi"}));
    let cpu = |content: &Value| {
        let resources = &content["sidecar"]["resources"];
        [resources["requests"]["cpu"].clone(), resources["limits"]["cpu"].clone()]
    };
    assert_eq!(cpu(&plain), ["10m", "20m"]);
    assert_eq!(plain["sidecar"]["securityContext"].get("runAsUser"), None);
    assert_eq!(plain["sidecar"]["securityContext"].get("runAsGroup"), None);
    assert_eq!(plain["sidecar"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(plain["image_pull_secrets"], json!([{"name": "registry"}]));
    // A higher request of the FrameBuffer raises the limit.
    let asking = content(json!({"size": "1Mi", "sidecar": {"resources": {"requests": {"cpu": "1"}}}}));
    assert_eq!(cpu(&asking), ["1", "1"]);
    let naming = content(json!({"size": "1Mi", "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}]}));
    assert_eq!(naming["image_pull_secrets"], json!([{"name": "registry"}, {"name": "mirror"}]));
}
