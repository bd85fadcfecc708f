//! Injection by the API server: a `MutatingAdmissionPolicy` of the chart adds the content of `status.injection`, which
//! the controller has rendered. The operator makes one binding of the policy for each name of a `FrameBuffer`.
//!
//! A single binding for all `FrameBuffer`s would work too, but the API server evaluates a policy for every parameter
//! that its binding selects: each `FrameBuffer` of the namespace would cost every labelled pod some 0.2 ms. The label
//! selector of a binding by name is checked before anything is evaluated, which costs some 0.007 ms. Such a binding
//! serves the `FrameBuffer`s of that name in all namespaces.
//!
//! # Guarantees
//!
//! No labelled pod is admitted without its sidecar: when a binding is missing, the API server refuses the pod.
//!
//! Read [`binding`] (one binding; pure), [`bindings`] (creates, repairs and deletes them), [`reconciler`] (when).

pub mod binding;
pub mod bindings;
pub mod reconciler;

#[cfg(test)]
mod tests;
