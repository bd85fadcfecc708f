//! The policy by which the API server injects, and its bindings.

use framebuffer_operator::policy::binding::{POLICY_LABEL, policy_resource, resource};
use kube::Api;
use kube::api::{DynamicObject, ListParams};

use crate::space::Space;

/// The policy's name.
pub const POLICY: &str = "framebuffer-operator-inject";

/// Bindings, of any policy.
pub fn api(space: &Space) -> Api<DynamicObject> {
    Api::all_with(space.client.clone(), &resource())
}

/// Policies.
pub fn policies(space: &Space) -> Api<DynamicObject> {
    Api::all_with(space.client.clone(), &policy_resource())
}

/// The bindings of our policy.
pub async fn bindings(space: &Space) -> Vec<DynamicObject> {
    let ours = ListParams::default().labels(&format!("{POLICY_LABEL}={POLICY}"));
    api(space).list(&ours).await.expect("bindings can be listed").items
}

/// The binding for a name of `FrameBuffer`s, if it is there.
pub async fn binding(space: &Space, framebuffer: &str) -> Option<DynamicObject> {
    let name = framebuffer_operator::policy::binding::name(POLICY, framebuffer);
    api(space).get_opt(&name).await.expect("the API server answers")
}
