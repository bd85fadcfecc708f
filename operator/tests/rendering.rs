//! What is rendered, and the `CustomResourceDefinition`. `UPDATE_GOLDEN=1` writes the expected files anew.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use framebuffer_operator::api::FrameBuffer;
use framebuffer_operator::commands::crd_yaml;
use framebuffer_operator::render::{Rendering, Settings, render};
use framebuffer_operator::validate::validate;
use kube::ResourceExt as _;
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
    assert_eq!(actual, expected, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}

fn settings() -> Settings {
    Settings { sidecar_image: "example.com/framebuffer-sidecar:test".to_owned(), pull_policy: None }
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
        let Rendering { hash, content } = render(&validate(&framebuffer).unwrap(), &settings());
        let yaml = serde_saphyr::to_string(&serde_json::to_value(content).unwrap()).unwrap();
        let path = fixtures.join(format!("rendered/{}.yaml", framebuffer.name_any()));
        expect(&path, &format!("# hash {hash}\n{yaml}"));
    }
}

#[test]
fn the_hash_changes_with_everything_that_is_injected_and_with_nothing_else() {
    let hash = |spec| rendered(spec).hash;
    let plain = hash(json!({"size": "500Mi"}));
    assert_eq!(plain, hash(json!({"size": "500Mi", "updateStrategy": {"type": "RollingRestart"}})));
    assert_eq!(plain, hash(json!({"size": "500Mi", "mountPath": "/dev/shm", "sidecar": {"port": 7570}})));
    for spec in [
        json!({"size": "501Mi"}),
        json!({"size": "500Mi", "mountPath": "/run/framebuffer"}),
        json!({"size": "500Mi", "containers": ["a"]}),
        json!({"size": "500Mi", "sidecar": {"port": 7572}}),
        json!({"size": "500Mi", "sidecar": {"adminPort": 7572}}),
        json!({"size": "500Mi", "sidecar": {"logLevel": "warn"}}),
        json!({"size": "500Mi", "sidecar": {"resources": {"limits": {"cpu": "1"}}}}),
    ] {
        assert_ne!(plain, hash(spec.clone()), "{spec}");
    }
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
