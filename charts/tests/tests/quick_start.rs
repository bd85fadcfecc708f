//! The manifests of the quick start fit together.

use framebuffer_chart_tests::{documents, file, restricted_violations};
use serde_json::Value;

fn example(name: &str) -> Value {
    let mut all = documents(&file(&format!("examples/kubernetes/{name}")));
    assert_eq!(all.len(), 1, "{name}");
    all.remove(0)
}

#[test]
fn the_deployment_asks_for_the_framebuffer_beside_it() {
    let (framebuffer, video) = (example("framebuffer.yaml"), example("video.yaml"));
    let label = &video["spec"]["template"]["metadata"]["labels"]["framebuffer.dev/inject"];
    assert_eq!(*label, framebuffer["metadata"]["name"]);
}

#[test]
fn the_pod_passes_the_restricted_standard_with_two_users() {
    let video = example("video.yaml");
    let spec = &video["spec"]["template"]["spec"];
    assert_eq!(restricted_violations(spec), Vec::<String>::new());
    let containers = spec["containers"].as_array().unwrap();
    let users: Vec<_> = containers.iter().map(|container| &container["securityContext"]["runAsUser"]).collect();
    assert!(users.len() == 2 && users[0] != users[1], "{users:?}");
}

#[test]
fn the_writer_and_the_reader_use_one_channel() {
    let video = example("video.yaml");
    let argument = |container: usize, flag: &str| {
        let mut all = video["spec"]["template"]["spec"]["containers"][container]["args"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str);
        all.find_map(|argument| argument.strip_prefix(flag)).unwrap().to_owned()
    };
    assert_eq!(argument(0, "--channel="), argument(1, "--channel="));
}

#[test]
fn the_kustomization_has_every_manifest() {
    let kustomization = example("kustomization.yaml");
    assert_eq!(kustomization["resources"], serde_json::json!(["framebuffer.yaml", "video.yaml"]));
}
