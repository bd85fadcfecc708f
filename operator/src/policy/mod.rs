//! The API server injects by itself: a `MutatingAdmissionPolicy` of the chart takes what the controller has rendered from
//! `status.injection`. The operator's part is one binding of the policy for each name that a `FrameBuffer` has.
//!
//! A single binding for all `FrameBuffer`s would do as well, but the API server evaluates a policy for every parameter that its binding
//! selects: each `FrameBuffer` of the namespace would cost every labelled pod some 0.2 ms. A binding by name is left out by its label
//! selector before anything is evaluated, which costs some 0.007 ms. It serves the `FrameBuffer`s of that name in all namespaces.
//!
//! # Guarantees
//!
//! A pod is never injected without the policy, nor let in without its sidecar: what is missing here makes the API server refuse.
//!
//! Read [`binding`] (what a binding says: pure), [`bindings`] (reads, makes and removes them), [`keeper`] (when).

pub mod binding;
pub mod bindings;
pub mod keeper;

#[cfg(test)]
mod tests;
