//! Changes that the operator may make to its own webhook.

use framebuffer_e2e::program::output;
use framebuffer_e2e::settings::{OPERATOR, SYSTEM};

use crate::in_namespace;

#[test]
fn the_operator_can_change_its_webhook_only_to_the_charts_content() {
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
