//! Tests of the Helm chart, of its documentation and of the quick start's manifests.
//!
//! Without Helm: `cargo test -p framebuffer-chart-tests`. All of them:
//!
//! ```sh
//! HELM=/path/to/helm cargo test -p framebuffer-chart-tests -- --include-ignored
//! ```
//!
//! `HELM` is not needed when `helm` is in `PATH`. No cluster is needed; tests that need one are in `e2e/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::Value;

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The chart.
#[must_use]
pub fn chart() -> PathBuf {
    root().join("charts/framebuffer")
}

/// A file of the repository.
///
/// # Panics
///
/// It cannot be read.
#[must_use]
pub fn file(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML text; empty ones are left out.
///
/// # Panics
///
/// It is not YAML, or has a key twice.
#[must_use]
pub fn documents(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    all.into_iter().filter(|document| !document.is_null()).collect()
}

/// The value sets with which the chart is rendered: all files in its folder `ci`.
///
/// # Panics
///
/// The folder cannot be read.
#[must_use]
pub fn value_sets() -> Vec<PathBuf> {
    let folder = chart().join("ci");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut sets: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder's entry can be read").path()).collect();
    sets.sort();
    sets
}

/// Runs Helm, without a cluster.
///
/// # Panics
///
/// There is no Helm.
#[must_use]
pub fn helm(arguments: &[&str]) -> Output {
    let program = env::var_os("HELM").unwrap_or_else(|| "helm".into());
    // Nothing here may depend on a cluster that happens to be configured.
    let output = Command::new(&program).args(arguments).env("KUBECONFIG", "/nonexistent").output();
    output.unwrap_or_else(|error| panic!("{}: {error}; set HELM to the path of a Helm", program.display()))
}

/// The chart's objects with a value set and more settings, as `key=value`.
///
/// # Panics
///
/// Helm refuses.
#[must_use]
pub fn render(values: &Path, settings: &[&str]) -> Vec<Value> {
    template(values, settings, &[])
}

/// The same for a cluster whose API server can inject.
///
/// # Panics
///
/// Helm refuses.
#[must_use]
pub fn render_by_policy(values: &Path, settings: &[&str]) -> Vec<Value> {
    template(values, settings, &["--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"])
}

fn template(values: &Path, settings: &[&str], more: &[&str]) -> Vec<Value> {
    let (chart, values) = (chart(), values.display().to_string());
    let mut arguments =
        vec!["template", "framebuffer", "--namespace", "framebuffer-system", "--include-crds", "--values", &values];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(more);
    let chart = chart.display().to_string();
    arguments.push(&chart);
    let output = helm(&arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8_lossy(&output.stdout))
}

/// The objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The rules of the restricted Pod Security Standard that a pod's spec violates, as far as they concern this project.
#[must_use]
pub fn restricted_violations(spec: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            violations.push(what);
        }
    };
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        expect(spec[host] != true, host.to_owned());
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        expect(volume["hostPath"].is_null(), format!("hostPath in {}", volume["name"]));
    }
    let pod = &spec["securityContext"];
    let containers =
        ["initContainers", "containers"].into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten());
    for container in containers {
        let (own, name) = (&container["securityContext"], &container["name"]);
        let either = |field: &str| if own[field].is_null() { &pod[field] } else { &own[field] };
        expect(either("runAsNonRoot") == true, format!("{name} may run as root"));
        expect(either("runAsUser") != 0, format!("{name} runs as root"));
        expect(either("seccompProfile")["type"] == "RuntimeDefault", format!("{name} has no seccomp profile"));
        expect(own["allowPrivilegeEscalation"] == false, format!("{name} may gain privileges"));
        expect(own["privileged"] != true, format!("{name} is privileged"));
        expect(own["capabilities"]["drop"] == serde_json::json!(["ALL"]), format!("{name} keeps capabilities"));
        expect(own["capabilities"]["add"].is_null(), format!("{name} adds capabilities"));
        expect(own["readOnlyRootFilesystem"] == true, format!("{name} may write to its root"));
    }
    violations
}
