//! The library for tests on a real cluster; the tests themselves are in `tests/`, by topic.
//!
//! From the bottom up:
//!
//! - [`program`]: kubectl, helm and ffmpeg.
//! - [`settings`]: names of the installed objects, images, and the cluster's abilities.
//! - [`manifests`]: manifests that several tests use.
//! - [`metrics`]: metrics of components.
//! - [`namespace`]: the namespace of a test, with its verbs: create, accept, reject, wait.
//! - [`load`]: creates labelled pods all the time while something happens.
//! - [`operator`]: the operator's replicas.
//! - [`policy`]: the policy and its bindings.
//! - [`webhook`]: the webhook from its clients' point of view.
//! - [`cluster`]: installs the operator, and runs tests in their namespaces, together or alone.
//!
//! Everything here panics on failure, which fails the calling test.

#![allow(clippy::missing_panics_doc, reason = "said above, for all")]

pub mod cluster;
pub mod load;
pub mod manifests;
pub mod metrics;
pub mod namespace;
pub mod operator;
pub mod policy;
pub mod program;
pub mod settings;
pub mod webhook;

pub use cluster::{alone, in_namespace, in_restricted_namespace, with_webhook};
pub use namespace::TestNamespace;
