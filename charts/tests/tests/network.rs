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
