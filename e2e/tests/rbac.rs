//! Requests that are refused to the operator's account, and to everybody.

use framebuffer_e2e::in_namespace;
use framebuffer_e2e::manifests::{framebuffer, idle, workload};
use framebuffer_e2e::program::{kubectl, output};
use framebuffer_e2e::settings::{OPERATOR, SYSTEM};
use serde_json::json;

#[test]
fn permissions_that_the_operator_does_not_need_are_missing() {
    in_namespace(async |namespace| {
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
                output("kubectl", &["auth", "can-i", verb, resource, "--as", &account, "--namespace", &namespace.name]);
            assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "no", "{verb} {resource}");
        }
    });
}

/// The chart's admission policies say what RBAC cannot.
#[test]
fn the_operator_cannot_change_more_of_a_workload_than_its_annotation() {
    in_namespace(async |namespace| {
        namespace.declare(&framebuffer(&json!({"size": "1Mi"}))).await;
        let mut deployment = workload("Deployment", "guarded", &[idle("app")]);
        deployment["spec"]["replicas"] = json!(0);
        namespace.accept(&deployment).await;
        let account = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
        let patch = |patch: &str| {
            let arguments =
                ["-n", &namespace.name, "patch", "deployment", "guarded", "--type=merge", "--dry-run=server"];
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

/// The API server injects what is in the status: whoever writes it puts any container into labelled pods.
#[test]
fn nobody_but_the_operator_may_write_the_status() {
    // With a slash it would be the name of an object.
    const STATUS: &[&str] = &["framebuffers", "--subresource=status"];
    in_namespace(async |namespace| {
        let may = |verb: &str, resource: &[&str], account: &str| {
            let account = format!("--as=system:serviceaccount:{}:{account}", namespace.name);
            let asked = [&["-n", &namespace.name, "auth", "can-i", verb][..], resource, &[&account]].concat();
            let asked = output("kubectl", &asked);
            String::from_utf8_lossy(&asked.stdout).trim() == "yes"
        };
        for role in ["view", "edit", "admin"] {
            let binding = format!("--serviceaccount={}:{role}", namespace.name);
            let role_flag = format!("--clusterrole={role}");
            kubectl(&["-n", &namespace.name, "create", "rolebinding", role, &role_flag, &binding]);
        }
        namespace
            .until("the roles include FrameBuffers", async || {
                may("create", &["framebuffers"], "edit") && may("get", &["framebuffers"], "view")
            })
            .await;
        for role in ["view", "edit", "admin"] {
            for verb in ["update", "patch"] {
                assert!(!may(verb, STATUS, role), "{role} may {verb} the status");
            }
            assert_eq!(may("patch", &["framebuffers"], role), role != "view");
        }
        // Nor does the API server take it from the object itself.
        let mut declared = framebuffer(&json!({"size": "1Mi"}));
        declared["status"] = json!({"injection": {
            "hash": "mine", "renderedAt": "2026-01-01T00:00:00Z",
            "sidecar": {}, "volume": {}, "volumeMount": {}, "env": [],
        }});
        let created = namespace.accept(&declared).await;
        assert_ne!(created["status"]["injection"]["hash"], "mine", "{created:#}");
    });
}
