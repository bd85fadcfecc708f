//! The policy with which the API server injects, and its bindings.

use framebuffer_operator::policy::binding::{POLICY_LABEL, policy_resource, resource};
use kube::Api;
use kube::api::{DynamicObject, ListParams};

use crate::namespace::TestNamespace;

/// The policy's name.
pub const POLICY: &str = "framebuffer-operator-inject";

/// The bindings of all policies.
pub fn api(namespace: &TestNamespace) -> Api<DynamicObject> {
    Api::all_with(namespace.client.clone(), &resource())
}

/// All policies.
pub fn policies(namespace: &TestNamespace) -> Api<DynamicObject> {
    Api::all_with(namespace.client.clone(), &policy_resource())
}

/// The bindings of our policy.
pub async fn bindings(namespace: &TestNamespace) -> Vec<DynamicObject> {
    let ours = ListParams::default().labels(&format!("{POLICY_LABEL}={POLICY}"));
    api(namespace).list(&ours).await.expect("bindings can be listed").items
}

/// The binding for a name of `FrameBuffer`s, if it exists.
pub async fn binding(namespace: &TestNamespace, framebuffer: &str) -> Option<DynamicObject> {
    let name = framebuffer_operator::policy::binding::name(POLICY, framebuffer);
    api(namespace).get_opt(&name).await.expect("the API server answers")
}
