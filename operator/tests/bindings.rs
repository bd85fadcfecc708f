//! Bindings that the chart makes: which names they serve.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;

use framebuffer_operator::policy::binding::{Policy, binding, served};
use kube::api::DynamicObject;
use serde_json::{Value, json};

fn policy() -> Policy {
    Policy { name: "inject".to_owned(), uid: "1".to_owned() }
}

fn serve(bindings: &[Value]) -> Vec<String> {
    let found: Vec<DynamicObject> =
        bindings.iter().map(|binding| serde_json::from_value(binding.clone()).unwrap()).collect();
    let names: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
    served(&policy(), &found, &names).into_iter().collect()
}

#[test]
fn a_binding_of_the_chart_serves_its_name_and_one_without_a_name_serves_all() {
    assert_eq!(serve(&[]), Vec::<String>::new());
    assert_eq!(serve(&[binding(&policy(), "b"), binding(&policy(), "c")]), ["b"]);
    let mut all = binding(&policy(), "a");
    all["spec"]["paramRef"] = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
    all["spec"]["matchResources"]["objectSelector"] = json!({});
    assert_eq!(serve(&[all.clone()]), ["a", "b"]);
    // Edited by somebody, it may serve less.
    all["spec"]["matchResources"]["namespaceSelector"] = json!({"matchLabels": {"a": "b"}});
    assert_eq!(serve(&[all]), Vec::<String>::new());
}
