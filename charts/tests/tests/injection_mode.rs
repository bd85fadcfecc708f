//! The chart in each injection mode. Most tests need Helm: `cargo xtask test chart`.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use framebuffer_chart_tests::{chart, documents, file, helm, of_kind, render, render_by_policy, value_sets};
use framebuffer_contract::kubernetes::{
    ADMIN_PORT, INJECT_LABEL, INJECTED_ANNOTATION, PORT, REFUSED_ANNOTATION, RESTARTED_ANNOTATION, SIDECAR, VOLUME,
    WEBHOOK,
};
use framebuffer_contract::variables;
use serde_json::{Value, json};

fn defaults() -> std::path::PathBuf {
    chart().join("ci/default-values.yaml")
}

fn injection_mode(objects: &[Value]) -> Vec<String> {
    let deployment = of_kind(objects, "Deployment").next().unwrap();
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    arguments
        .iter()
        .filter_map(|argument| argument.as_str()?.strip_prefix("--injection-mode="))
        .map(str::to_owned)
        .collect()
}

fn kinds(objects: &[Value], kind: &str) -> usize {
    of_kind(objects, kind).count()
}

#[test]
#[ignore = "needs helm"]
fn the_injection_mode_follows_the_cluster_unless_the_values_set_it() {
    for (settings, old, new) in [
        (&[][..], "webhook", "policy"),
        (&["injection.mode=auto"], "webhook", "policy"),
        (&["injection.mode=webhook"], "webhook", "webhook"),
    ] {
        assert_eq!(injection_mode(&render(&defaults(), settings)), [old], "{settings:?}");
        assert_eq!(injection_mode(&render_by_policy(&defaults(), settings)), [new], "{settings:?}");
    }
    assert_eq!(injection_mode(&render_by_policy(&defaults(), &["injection.mode=policy"])), ["policy"]);
    let chart = chart().display().to_string();
    let refused = helm(&["template", "framebuffer", &chart, "--set", "injection.mode=policy"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("Kubernetes 1.36"), "{why}");
}

#[test]
#[ignore = "needs helm"]
fn in_policy_mode_nothing_of_the_webhook_is_rendered() {
    for values in value_sets() {
        let objects = render_by_policy(&values, &["injection.mode=policy"]);
        for kind in ["Service", "MutatingWebhookConfiguration", "Certificate", "Issuer"] {
            assert_eq!(kinds(&objects, kind), 0, "{kind} with {}", values.display());
        }
        assert_eq!(kinds(&objects, "MutatingAdmissionPolicy"), 1);
        // The guard allows exactly the image that the operator injects.
        let status = |policy: &&Value| policy["metadata"]["name"].as_str().unwrap().ends_with("-status");
        let guard = of_kind(&objects, "ValidatingAdmissionPolicy").find(status).unwrap();
        let all = guard["spec"]["validations"].as_array().unwrap().iter();
        let mut rules = all.map(|rule| rule["expression"].as_str().unwrap());
        let rule = rules.find(|rule| rule.contains("variables.image in [")).unwrap();
        let image = rule.split('"').nth(1).unwrap().to_owned();
        let arguments =
            &of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        assert!(
            arguments.as_array().unwrap().contains(&json!(format!("--sidecar-image={image}"))),
            "{image} {arguments}"
        );
        // The operator makes its bindings.
        assert_eq!(kinds(&objects, "MutatingAdmissionPolicyBinding"), 0);
        for kind in ["Role", "ClusterRole"] {
            let rules: String = of_kind(&objects, kind).map(|role| role["rules"].to_string()).collect();
            assert!(!rules.contains("secrets") && !rules.contains("mutatingwebhookconfigurations"), "{rules}");
        }
        let spec = &of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"]["spec"];
        assert!(spec["volumes"].is_null());
        let ports = spec["containers"][0]["ports"].as_array().unwrap();
        assert_eq!(ports.iter().map(|port| &port["name"]).collect::<Vec<_>>(), ["admin"]);
    }
}

#[test]
#[ignore = "needs helm"]
fn the_guard_takes_the_probes_that_the_operator_is_told_to_render_and_no_others() {
    for (settings, told, taken, refused) in [
        (&[][..], "exec", "'exec'", "'httpGet'"),
        (&["sidecar.probes=exec"], "exec", "'exec'", "'httpGet'"),
        (&["sidecar.probes=http"], "http", "'httpGet'", "'exec'"),
    ] {
        let objects = render_by_policy(&defaults(), settings);
        let arguments =
            &of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        let argument = json!(format!("--sidecar-probes={told}"));
        assert!(arguments.as_array().unwrap().contains(&argument), "{arguments}");
        let status = |policy: &&Value| policy["metadata"]["name"].as_str().unwrap().ends_with("-status");
        let guard = of_kind(&objects, "ValidatingAdmissionPolicy").find(status).unwrap();
        let mut variables = guard["spec"]["variables"].as_array().unwrap().iter();
        let wanted = variables.find(|variable| variable["name"] == "wanted").unwrap()["expression"].as_str().unwrap();
        for probe in ["'readinessProbe'", "'livenessProbe'"] {
            let (_, rest) = wanted.split_once(probe).unwrap();
            let line = rest.lines().next().unwrap();
            assert!(line.contains(taken) && !line.contains(refused), "{settings:?}: {probe}{line}");
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn the_operator_gets_the_name_of_its_policy_and_may_bind_it() {
    for values in value_sets() {
        let objects = render_by_policy(&values, &["injection.mode=policy"]);
        let name = of_kind(&objects, "MutatingAdmissionPolicy").next().unwrap()["metadata"]["name"].clone();
        let deployment = of_kind(&objects, "Deployment").next().unwrap();
        let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        assert!(arguments.contains(&json!(format!("--policy-name={}", name.as_str().unwrap()))), "{arguments:?}");
        let mut rules = of_kind(&objects, "ClusterRole").flat_map(|role| role["rules"].as_array().unwrap());
        assert!(rules.any(|rule| rule["resourceNames"] == json!([name])), "{}", values.display());
    }
}

/// The final check is the same in both modes, since one may follow the other.
#[test]
#[ignore = "needs helm"]
fn labelled_pods_without_a_sidecar_are_refused_in_either_mode() {
    for values in value_sets() {
        for objects in [render(&values, &[]), render_by_policy(&values, &["injection.mode=policy"])] {
            let last = |policy: &&Value| policy["metadata"]["name"].as_str().unwrap().ends_with("-injected");
            let policy = of_kind(&objects, "ValidatingAdmissionPolicy").find(last).unwrap();
            assert_eq!(policy["spec"]["failurePolicy"], "Fail");
            let label = json!([{"key": INJECT_LABEL, "operator": "Exists"}]);
            assert_eq!(policy["spec"]["matchConstraints"]["objectSelector"]["matchExpressions"], label);
            let binding = of_kind(&objects, "ValidatingAdmissionPolicyBinding").find(last).unwrap();
            assert_eq!(
                binding["spec"],
                json!({"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]})
            );
        }
    }
}

#[test]
fn the_templates_share_the_names_of_the_contract() {
    let template = file("charts/framebuffer/templates/_policy.tpl");
    let (_, names) = template.split_once("{{- define \"framebuffer.names\" -}}").unwrap();
    let (names, _) = names.split_once("{{- end -}}").unwrap();
    let names = documents(names).remove(0);
    let shared = json!({
        "label": INJECT_LABEL,
        "injected": INJECTED_ANNOTATION,
        "restarted": RESTARTED_ANNOTATION,
        "refused": REFUSED_ANNOTATION,
        "webhook": WEBHOOK,
        "sidecar": SIDECAR,
        "volume": VOLUME,
        "port": PORT,
        "adminPort": ADMIN_PORT,
        "url": variables::URL,
        "dir": variables::DIR,
    });
    assert_eq!(names, shared);
}

#[test]
#[ignore = "needs helm"]
fn the_policy_uses_the_shared_names() {
    let objects = render_by_policy(&defaults(), &[]);
    let policy = of_kind(&objects, "MutatingAdmissionPolicy").next().unwrap();
    let text = policy["spec"].to_string();
    for name in [INJECT_LABEL, INJECTED_ANNOTATION, SIDECAR, VOLUME, PORT, ADMIN_PORT] {
        assert!(text.contains(&format!("{name}'")) || text.contains(&format!("{name}\"")), "{name}");
    }
    assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    assert_eq!(policy["spec"]["reinvocationPolicy"], "IfNeeded");
}

#[test]
#[ignore = "needs helm"]
fn static_bindings_take_the_right_to_write_bindings_from_the_operator() {
    for (names, expected) in [("", 1), (",injection.names={frames,clips}", 2)] {
        let setting = format!("injection.bindings=static{names}");
        let objects = render_by_policy(&defaults(), &[&setting]);
        assert_eq!(kinds(&objects, "MutatingAdmissionPolicyBinding"), expected);
        let rules = of_kind(&objects, "ClusterRole").flat_map(|role| role["rules"].as_array().into_iter().flatten());
        let mut rules = rules.filter(|rule| rule["resources"] == json!(["mutatingadmissionpolicybindings"]));
        assert_eq!(rules.next().unwrap()["verbs"], json!(["get", "list", "watch"]));
        assert_eq!(rules.next(), None);
        let arguments =
            &of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        assert!(arguments.as_array().unwrap().contains(&json!("--static-bindings")), "{arguments}");
        // One binding for all names must not inject the FrameBuffer of another name.
        let policy = of_kind(&objects, "MutatingAdmissionPolicy").next().unwrap();
        assert_eq!(policy["spec"]["matchConditions"].is_null(), expected == 2);
    }
}
