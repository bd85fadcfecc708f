//! Who can connect to the operator's pods, and how. Needs Helm: `cargo xtask test chart`.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use framebuffer_chart_tests::{chart, of_kind, render, render_by_policy};
use serde_json::{Value, json};

fn everything() -> Vec<Value> {
    render(&chart().join("ci/everything-values.yaml"), &[])
}

fn with(settings: &[&str]) -> Vec<Value> {
    render(&chart().join("ci/default-values.yaml"), settings)
}

#[test]
#[ignore = "needs helm"]
fn there_is_no_network_policy_unless_it_is_asked_for() {
    assert_eq!(of_kind(&with(&[]), "NetworkPolicy").count(), 0);
}

#[test]
#[ignore = "needs helm"]
fn a_network_policy_admits_the_given_peers_to_each_port_and_selects_the_operators_pods() {
    let objects = everything();
    let policy = of_kind(&objects, "NetworkPolicy").next().unwrap();
    let template = &of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"];
    let labels = template["metadata"]["labels"].as_object().unwrap();
    let selected = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
    assert!(!selected.is_empty() && selected.iter().all(|(key, value)| labels.get(key) == Some(value)));
    assert_eq!(policy["metadata"]["namespace"], "framebuffer-system");
    let [webhook, admin] = policy["spec"]["ingress"].as_array().unwrap().as_slice() else { panic!("{policy}") };
    assert_eq!((&webhook["ports"][0]["port"], &admin["ports"][0]["port"]), (&json!("webhook"), &json!("admin")));
    // The names are those of the container's ports.
    let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
    assert_eq!(ports.iter().map(|port| &port["name"]).collect::<Vec<_>>(), ["webhook", "admin"]);
    assert_eq!(webhook["from"][1], json!({"ipBlock": {"cidr": "fd00::2/128"}}));
    assert!(admin["from"][0]["namespaceSelector"].is_object());
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    let [egress] = policy["spec"]["egress"].as_array().unwrap().as_slice() else { panic!("{policy}") };
    assert_eq!(egress["ports"], json!([{"port": 6443, "protocol": "TCP"}]));
    assert_eq!(egress["to"], json!([{"ipBlock": {"cidr": "10.0.0.2/32"}}]));
}

#[test]
#[ignore = "needs helm"]
fn without_peers_a_network_policy_closes_all_other_ports_and_leaves_egress_open() {
    let objects = with(&["networkPolicy.enabled=true"]);
    let policy = of_kind(&objects, "NetworkPolicy").next().unwrap();
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    assert!(rules.len() == 2 && rules.iter().all(|rule| rule["from"].is_null() && rule["ports"].is_array()));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    // In policy mode there is no webhook.
    let objects = render_by_policy(
        &chart().join("ci/default-values.yaml"),
        &["networkPolicy.enabled=true", "injection.mode=policy"],
    );
    let policy = of_kind(&objects, "NetworkPolicy").next().unwrap();
    assert_eq!(policy["spec"]["ingress"].as_array().unwrap().len(), 1);
}

#[test]
#[ignore = "needs helm"]
fn health_and_metrics_are_on_the_port_of_the_values_on_all_addresses() {
    for (objects, port) in [(everything(), 8081), (with(&[]), 8080)] {
        let container = &of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap();
        assert!(arguments.contains(&json!(format!("--admin=[::]:{port}"))), "{arguments:?}");
        assert_eq!(container["ports"][1], json!({"name": "admin", "containerPort": port, "protocol": "TCP"}));
        assert_eq!(container["readinessProbe"]["httpGet"]["port"], "admin");
    }
}

#[test]
#[ignore = "needs helm"]
fn on_the_hosts_network_pods_still_find_services_and_a_rollout_needs_no_spare_node() {
    let objects = with(&["hostNetwork=true"]);
    let spec = &of_kind(&objects, "Deployment").next().unwrap()["spec"];
    assert_eq!(spec["template"]["spec"]["hostNetwork"], true);
    assert_eq!(spec["template"]["spec"]["dnsPolicy"], "ClusterFirstWithHostNet");
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxUnavailable": 1, "maxSurge": 0}));
    let objects = with(&[]);
    let spec = &of_kind(&objects, "Deployment").next().unwrap()["spec"];
    assert!(spec["template"]["spec"]["hostNetwork"].is_null());
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
}

#[test]
#[ignore = "needs helm"]
fn labels_for_a_platforms_enforcer_are_on_the_webhooks_configuration() {
    let objects = everything();
    let metadata = &of_kind(&objects, "MutatingWebhookConfiguration").next().unwrap()["metadata"];
    assert_eq!(metadata["labels"]["admissions.enforcer/disabled"], "true");
    assert_eq!(metadata["annotations"]["example.com/owner"], "media");
    assert!(metadata["annotations"]["framebuffer.dev/webhooks"].is_string());
}
