//! What the operator's account may do.

use std::collections::BTreeSet;
use std::fs;

use framebuffer_e2e::cluster::{OPERATOR, SYSTEM, root};
use framebuffer_e2e::in_namespace;
use framebuffer_e2e::program::{kubectl, output};

/// A right: resource, verb, the name of the one object or nothing.
type Right = (String, String, String);

fn rights(account: &str) -> BTreeSet<Right> {
    let account = format!("system:serviceaccount:{SYSTEM}:{account}");
    let list = kubectl(&["auth", "can-i", "--list", "--no-headers", "--as", &account, "--namespace", SYSTEM]);
    let mut rights = BTreeSet::new();
    for line in list.lines().filter(|line| !line.starts_with(' ')) {
        let resource = line.split_whitespace().next().unwrap().to_owned();
        let lists: Vec<&str> = line.split('[').skip(1).map(|list| list.split(']').next().unwrap()).collect();
        let [_, names, verbs] = lists[..] else { panic!("{line}") };
        for verb in verbs.split_whitespace() {
            rights.insert((resource.clone(), verb.to_owned(), names.to_owned()));
        }
    }
    rights
}

/// The table in docs/security.md: resource, verbs, where, why.
fn documented() -> BTreeSet<Right> {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut rights = BTreeSet::new();
    let table = text.lines().skip_while(|line| !line.starts_with("| resource | verbs |")).skip(2);
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[3].split("the one named `").nth(1).map_or("", |rest| rest.split('`').next().unwrap());
        // `deployments, statefulsets, daemonsets.apps`: the group is the last one's.
        let resources: Vec<&str> = cells[1].split(", ").collect();
        let group = resources.last().unwrap().split_once('.').map_or("", |(_, group)| group);
        for resource in &resources {
            let (kind, group) = resource.split_once('.').unwrap_or((resource, group));
            let (kind, part) =
                kind.split_once('/').map_or((kind, String::new()), |(kind, part)| (kind, format!("/{part}")));
            for verb in cells[2].split(", ") {
                let full = if group.is_empty() { format!("{kind}{part}") } else { format!("{kind}.{group}{part}") };
                rights.insert((full, verb.to_owned(), name.to_owned()));
            }
        }
    }
    rights
}

#[test]
fn the_operator_may_do_what_its_documentation_says_and_nothing_else() {
    in_namespace(async |_| {
        let everybody = rights("default");
        let actual: BTreeSet<Right> = rights(OPERATOR).difference(&everybody).cloned().collect();
        // The documentation names what kubectl shows with its group; groups of the lease and the webhook are long.
        let short = |rights: BTreeSet<Right>| -> BTreeSet<Right> {
            let cut = |resource: String| {
                let cut = resource.replace(".coordination.k8s.io", "").replace(".admissionregistration.k8s.io", "");
                // `framebuffers/status.framebuffer.dev` and `framebuffers.framebuffer.dev/status` are the same.
                cut.replace("framebuffers/status.framebuffer.dev", "framebuffers.framebuffer.dev/status")
            };
            rights.into_iter().map(|(resource, verb, name)| (cut(resource), verb, name)).collect()
        };
        assert_eq!(short(actual), short(documented()));
    });
}

#[test]
fn what_the_operator_does_not_need_is_refused() {
    in_namespace(async |space| {
        let account = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
        for (verb, resource) in [
            ("create", "pods"),
            ("delete", "pods"),
            ("create", "pods/exec"),
            ("get", "secrets"),
            ("list", "configmaps"),
            ("update", "deployments"),
            ("delete", "deployments"),
            ("update", "framebuffers"),
            ("patch", "framebuffers"),
            ("patch", "nodes"),
            ("create", "mutatingwebhookconfigurations"),
            ("impersonate", "users"),
            ("create", "serviceaccounts/token"),
        ] {
            let asked =
                output("kubectl", &["auth", "can-i", verb, resource, "--as", &account, "--namespace", &space.name]);
            assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "no", "{verb} {resource}");
        }
    });
}

/// The chart's admission policies say what RBAC cannot.
#[test]
fn the_operator_cannot_change_more_of_a_workload_than_its_annotation() {
    in_namespace(async |space| {
        use framebuffer_e2e::objects::{framebuffer, idle, workload};
        use serde_json::json;
        space.accept(&framebuffer(&json!({"size": "1Mi"}))).await;
        let mut deployment = workload("Deployment", "guarded", &[idle("app")]);
        deployment["spec"]["replicas"] = json!(0);
        space.accept(&deployment).await;
        let account = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
        let patch = |patch: &str| {
            let arguments = ["-n", &space.name, "patch", "deployment", "guarded", "--type=merge", "--dry-run=server"];
            output("kubectl", &[&arguments[..], &["--as", &account, "--patch", patch]].concat())
        };
        let annotation = r#"{"spec":{"template":{"metadata":{"annotations":{"framebuffer.dev/restarted-for":"x"}}}}}"#;
        let allowed = patch(annotation);
        assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
        for refused in [
            r#"{"spec":{"replicas":3}}"#,
            r#"{"spec":{"template":{"metadata":{"annotations":{"other":"x"}}}}}"#,
            r#"{"spec":{"template":{"spec":{"hostNetwork":true}}}}"#,
        ] {
            let said = patch(refused);
            assert!(!said.status.success(), "{refused} was accepted");
        }
    });
}

#[test]
fn the_operator_can_make_its_webhook_nothing_but_what_the_chart_says() {
    in_namespace(async |_| {
        let account = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
        let patch = |kind: &str, patch: &str| {
            let arguments = ["patch", "mutatingwebhookconfiguration", OPERATOR, "--dry-run=server", "--type", kind];
            output("kubectl", &[&arguments[..], &["--as", &account, "--patch", patch]].concat())
        };
        let webhook = |fields: &str| format!(r#"{{"webhooks":[{{"name":"inject.framebuffer.dev",{fields}}}]}}"#);
        let allowed = patch("strategic", &webhook(r#""clientConfig":{"caBundle":"Q0E="}"#));
        assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
        for refused in [
            r#""failurePolicy":"Ignore""#,
            r#""timeoutSeconds":1"#,
            r#""objectSelector":{"matchLabels":{"a":"b"}}"#,
            r#""namespaceSelector":{"matchLabels":{"a":"b"}}"#,
            r#""matchConditions":[{"name":"a","expression":"true"}]"#,
            r#""rules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["secrets"]}]"#,
            r#""clientConfig":{"service":{"name":"other","namespace":"default"}}"#,
        ] {
            let said = patch("strategic", &webhook(refused));
            let why = String::from_utf8_lossy(&said.stderr).into_owned();
            assert!(!said.status.success() && why.contains("what the chart says"), "{refused}: {why}");
        }
        for refused in [r#"{"webhooks":[]}"#, r#"{"metadata":{"annotations":{"framebuffer.dev/webhooks":null}}}"#] {
            assert!(!patch("merge", refused).status.success(), "{refused} was accepted");
        }
    });
}
