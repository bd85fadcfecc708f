//! The rendered chart, over all its value sets. Needs Helm: `cargo xtask test chart`.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::fs;
use std::path::Path;

use framebuffer_chart_tests::{
    chart, documents, file, helm, of_kind, render, render_by_policy, restricted_violations, root, value_sets,
};
use serde_json::{Value, json};

fn defaults() -> Vec<Value> {
    render(&chart().join("ci/default-values.yaml"), &[])
}

fn only<'a>(objects: &'a [Value], kind: &'a str) -> &'a Value {
    let mut found = of_kind(objects, kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first
}

fn refusal(settings: &[&str]) -> String {
    let chart = chart().display().to_string();
    let mut arguments = vec!["template", "framebuffer", &chart];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let output = helm(&arguments);
    assert!(!output.status.success(), "{settings:?} is accepted");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "needs helm"]
fn lint_finds_nothing_in_any_value_set() {
    for values in value_sets() {
        let output =
            helm(&["lint", "--strict", "--values", &values.display().to_string(), &chart().display().to_string()]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !text.contains("[WARNING]"), "{}: {text}", values.display());
    }
}

#[test]
#[ignore = "needs helm"]
fn values_that_do_not_exist_or_fit_are_refused_by_name() {
    for (setting, named) in [
        ("replica=3", "replica"),
        ("image.tagg=x", "tagg"),
        ("sidecar.image.pullPolicy=Sometimes", "pullPolicy"),
        ("sidecar.probes=grpc", "probes"),
        ("webhook.timeoutSeconds=31", "timeoutSeconds"),
        ("injection.mode=pigeon", "mode"),
        ("log.level=loud", "level"),
        ("image.digest=abc", "digest"),
        ("podDisruptionBudget.maxUnavailable=some", "maxUnavailable"),
    ] {
        assert!(refusal(&[setting]).contains(named), "{setting}");
    }
    assert!(refusal(&["serviceAccount.create=false"]).contains("serviceAccount.name"));
}

#[test]
#[ignore = "needs helm"]
fn the_operator_cannot_be_made_to_wait_for_itself() {
    for list in ["podLabels", "commonLabels"] {
        assert!(refusal(&[&format!(r"{list}.framebuffer\.dev/inject=frames")]).contains("wait for themselves"));
    }
}

#[test]
#[ignore = "needs helm"]
fn every_pod_passes_the_restricted_standard_but_where_the_values_say_otherwise() {
    for values in value_sets() {
        for object in render(&values, &[]).into_iter().chain(render_by_policy(&values, &["injection.mode=policy"])) {
            let spec = &object["spec"]["template"]["spec"];
            if spec.is_object() {
                assert_eq!(
                    restricted_violations(spec),
                    Vec::<String>::new(),
                    "{} in {}",
                    object["kind"],
                    values.display()
                );
            }
        }
    }
    let privileged = render(&value_sets()[0], &["securityContext.privileged=true"]);
    let spec = &only(&privileged, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(restricted_violations(spec), ["\"operator\" is privileged"]);
}

#[test]
#[ignore = "needs helm"]
fn the_webhook_is_for_the_creation_of_labelled_pods_only() {
    for values in value_sets() {
        let objects = render(&values, &[]);
        let webhooks = only(&objects, "MutatingWebhookConfiguration")["webhooks"].as_array().unwrap().clone();
        let [webhook] = webhooks.as_slice() else { panic!("{} webhooks", webhooks.len()) };
        let inject = json!({"matchExpressions": [{"key": "framebuffer.dev/inject", "operator": "Exists"}]});
        assert_eq!(webhook["objectSelector"], inject);
        assert_eq!(webhook["rules"].as_array().unwrap().len(), 1);
        assert_eq!(webhook["rules"][0]["operations"], json!(["CREATE"]));
        assert_eq!(webhook["rules"][0]["resources"], json!(["pods"]));
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["namespaceSelector"], json!({}));
        // An upgrade must keep the CA that the operator has written.
        assert!(webhook["clientConfig"].get("caBundle").is_none());
    }
}

#[test]
#[ignore = "needs helm"]
fn the_webhook_has_its_intended_content_in_an_annotation() {
    use framebuffer_operator::certificates::configuration::{WEBHOOKS_ANNOTATION, edited};
    for values in value_sets() {
        let objects = render(&values, &["webhook.timeoutSeconds=7"]);
        let configuration = only(&objects, "MutatingWebhookConfiguration");
        let annotation = configuration["metadata"]["annotations"][WEBHOOKS_ANNOTATION].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(annotation).unwrap(), configuration["webhooks"]);
        assert_eq!(configuration["webhooks"][0]["timeoutSeconds"], 7);
        // As the operator reads it.
        assert_eq!(edited(&serde_json::from_value(configuration.clone()).unwrap()), None);
    }
}

#[test]
#[ignore = "needs helm"]
fn the_command_line_names_the_objects_that_are_rendered() {
    for values in value_sets() {
        let objects = render(&values, &[]);
        let container = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let argument = |flag: &str| {
            let mut all = container["args"].as_array().unwrap().iter().filter_map(Value::as_str);
            all.find_map(|argument| argument.strip_prefix(&format!("--{flag}="))).unwrap().to_owned()
        };
        let webhook = only(&objects, "MutatingWebhookConfiguration");
        assert_eq!(argument("webhook-name"), webhook["metadata"]["name"]);
        let service = only(&objects, "Service");
        assert_eq!(argument("service-name"), service["metadata"]["name"]);
        assert_eq!(service["metadata"]["name"], webhook["webhooks"][0]["clientConfig"]["service"]["name"]);
        let roles: Vec<_> = of_kind(&objects, "Role").flat_map(|role| role["rules"].as_array().unwrap()).collect();
        let may = |resource: &str, name: &str| {
            roles.iter().any(|rule| rule["resources"] == json!([resource]) && rule["resourceNames"] == json!([name]))
        };
        assert!(may("leases", &argument("lease-name")), "{}", values.display());
        let own_certificates = of_kind(&objects, "Certificate").next().is_none();
        assert_eq!(may("secrets", &argument("secret-name")), own_certificates, "{}", values.display());
        let port = &container["ports"][0];
        assert_eq!((&port["name"], &service["spec"]["ports"][0]["targetPort"]), (&json!("webhook"), &json!("webhook")));
        assert_eq!(argument("listen"), format!("[::]:{}", port["containerPort"]));
    }
}

#[test]
#[ignore = "needs helm"]
fn files_of_cert_manager_can_be_read_by_a_user_who_is_not_root() {
    for values in value_sets() {
        let objects = render(&values, &[]);
        let spec = &only(&objects, "Deployment")["spec"]["template"]["spec"];
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            // Files of a Secret belong to root, and to its group unless `fsGroup` names another.
            assert!(spec["securityContext"]["fsGroup"].is_null());
            assert_eq!(volume["secret"]["defaultMode"], 0o444, "{volume}");
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn all_selectors_of_the_operators_pods_match_them() {
    for values in value_sets() {
        let objects = render(&values, &[]);
        let deployment = only(&objects, "Deployment");
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let budgets = of_kind(&objects, "PodDisruptionBudget").map(|budget| &budget["spec"]["selector"]["matchLabels"]);
        let selectors =
            [&deployment["spec"]["selector"]["matchLabels"], &only(&objects, "Service")["spec"]["selector"]];
        for selector in selectors.into_iter().chain(budgets) {
            let selector = selector.as_object().unwrap();
            assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value), "{selector:?}");
        }
        let test = only(&objects, "Job");
        assert_ne!(test["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"], "operator");
    }
}

#[test]
#[ignore = "needs helm"]
fn no_rule_has_a_wildcard_and_no_secret_is_readable_cluster_wide() {
    for values in value_sets() {
        let objects = [render(&values, &[]), render_by_policy(&values, &["injection.mode=policy"])].concat();
        for kind in ["Role", "ClusterRole"] {
            for role in of_kind(&objects, kind) {
                let text = role["rules"].to_string();
                assert!(!text.contains('*'), "{} in {}: {text}", role["metadata"]["name"], values.display());
                assert!(kind == "Role" || !text.contains("secrets"), "{text}");
                let named = |rule: &Value| rule["resourceNames"].is_array() || rule["verbs"] == json!(["create"]);
                assert!(kind == "ClusterRole" || role["rules"].as_array().unwrap().iter().all(named), "{text}");
            }
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn without_rolling_restart_the_operator_may_change_no_workload() {
    let rules = |objects: &[Value]| -> Vec<String> {
        of_kind(objects, "ClusterRole")
            .map(|role| role["rules"].to_string())
            .filter(|rules| rules.contains("\"apps\""))
            .collect()
    };
    assert_eq!(rules(&defaults()).len(), 1);
    let without = render(&value_sets()[0], &["rbac.rollingRestart=false"]);
    assert_eq!(rules(&without), Vec::<String>::new());
    // The operator knows that, and does not try.
    let has_flag = |objects: &[Value]| {
        let container = &only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        container["args"].as_array().unwrap().contains(&json!("--no-rolling-restart"))
    };
    assert!(has_flag(&without) && !has_flag(&defaults()));
    let paced = render(&value_sets()[0], &["rbac.rollingRestart=true", "rollingRestart.maxConcurrent=2"]);
    assert!(only(&paced, "Deployment").to_string().contains("--max-restarts=2"));
}

#[test]
#[ignore = "needs helm"]
fn the_rules_are_those_that_the_operators_readme_lists() {
    fn rules<'a>(objects: impl Iterator<Item = &'a Value>) -> Vec<String> {
        let all = objects.flat_map(|role| role["rules"].as_array().unwrap().clone());
        let mut rules: Vec<String> = all.map(|rule| rule.to_string()).collect();
        rules.sort();
        rules
    }
    let readme = file("operator/README.md");
    let by_policy = render_by_policy(&chart().join("ci/default-values.yaml"), &[]);
    for (mark, objects) in [("<!-- rbac -->", defaults()), ("<!-- rbac, policy -->", by_policy)] {
        let (_, rest) = readme.split_once(mark).unwrap();
        let yaml = rest.split("```").nth(1).unwrap().strip_prefix("yaml").unwrap();
        let listed = documents(yaml);
        for kind in ["Role", "ClusterRole"] {
            let operators = |role: &&Value| role["metadata"]["name"] == "framebuffer-operator";
            assert_eq!(
                rules(of_kind(&objects, kind).filter(operators)),
                rules(of_kind(&listed, kind)),
                "{mark} {kind}"
            );
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn the_operators_patches_are_restricted_by_policies() {
    for values in value_sets() {
        let objects = render(&values, &[]);
        let text: String = of_kind(&objects, "ClusterRole").map(|role| role["rules"].to_string()).collect();
        let may_restart = text.contains("\"deployments\"");
        // The one about pods applies to everybody.
        let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
        let policies: Vec<_> = policies.filter(|policy| policy["spec"]["matchConditions"].is_array()).collect();
        assert_eq!(policies.len(), usize::from(may_restart) + 1, "{}", values.display());
        let account = &of_kind(&objects, "ClusterRoleBinding").next().unwrap()["subjects"][0];
        let [namespace, name] = ["namespace", "name"].map(|field| account[field].as_str().unwrap());
        for policy in policies {
            let condition = policy["spec"]["matchConditions"][0]["expression"].as_str().unwrap();
            assert!(condition.ends_with(&format!("'system:serviceaccount:{namespace}:{name}'")), "{condition}");
            let bound = |binding: &&Value| binding["spec"]["policyName"] == policy["metadata"]["name"];
            let binding = of_kind(&objects, "ValidatingAdmissionPolicyBinding").find(bound).unwrap();
            assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn only_the_operator_may_write_the_status() {
    let objects = defaults();
    let may: Vec<_> = of_kind(&objects, "ClusterRole")
        .filter(|role| role["rules"].to_string().contains("framebuffers/status"))
        .collect();
    assert_eq!(may.len(), 1);
    assert_eq!(may[0]["metadata"]["name"], "framebuffer-operator");
    assert!(may[0]["metadata"]["labels"].as_object().unwrap().keys().all(|label| !label.contains("aggregate")));
}

#[test]
#[ignore = "needs helm"]
fn images_are_named_by_registry_tag_and_digest() {
    let image = |settings: &[&str]| {
        let objects = render(&chart().join("ci/default-values.yaml"), settings);
        let container = only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0].clone();
        let mut arguments = container["args"].as_array().unwrap().iter().filter_map(Value::as_str);
        let sidecar = arguments.find_map(|argument| argument.strip_prefix("--sidecar-image=")).unwrap().to_owned();
        (container["image"].as_str().unwrap().to_owned(), sidecar)
    };
    let pair = |operator: &str, sidecar: &str| (operator.to_owned(), sidecar.to_owned());
    let both = image(&["image.registry=r.example.com/x", "image.tag=test"]);
    assert_eq!(both, pair("r.example.com/x/framebuffer-operator:test", "r.example.com/x/framebuffer-sidecar:test"));
    let own = image(&["sidecar.image.registry=s.example.com", "sidecar.image.tag=v2", "image.tag=v1"]);
    assert_eq!(own, pair("localhost/framebuffer-operator:v1", "s.example.com/framebuffer-sidecar:v2"));
    let digest = format!("sha256:{}", "a".repeat(64));
    let digests = image(&[&format!("image.digest={digest}"), "image.tag=v1"]);
    assert_eq!(digests, pair(&format!("localhost/framebuffer-operator@{digest}"), "localhost/framebuffer-sidecar:v1"));
}

#[test]
#[ignore = "needs helm"]
fn the_crd_is_the_repositorys_own_and_outlives_the_release() {
    let folder = root().join("crds");
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_owned(), fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    };
    assert_eq!(files(&chart().join("crds")), files(&folder));
    let objects = defaults();
    let crd = only(&objects, "CustomResourceDefinition");
    assert_eq!(crd["metadata"]["name"], "framebuffers.framebuffer.dev");
    // What is not a template is not deleted with the release.
    assert!(crd["metadata"]["labels"]["app.kubernetes.io/managed-by"].is_null());
}

#[test]
#[ignore = "needs helm"]
fn the_test_job_asks_for_the_ring_that_is_declared_with_it() {
    for values in value_sets() {
        let objects = render(&values, &[]);
        let (framebuffer, job) = (only(&objects, "FrameBuffer"), only(&objects, "Job"));
        assert_eq!(
            job["spec"]["template"]["metadata"]["labels"]["framebuffer.dev/inject"],
            framebuffer["metadata"]["name"]
        );
        let weight = |object: &Value| {
            let weight = &object["metadata"]["annotations"]["helm.sh/hook-weight"];
            weight.as_str().map_or(0, |weight| weight.parse::<i32>().unwrap())
        };
        assert!(weight(framebuffer) < weight(job));
    }
}
