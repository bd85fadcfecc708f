//! What the tests on a real cluster are written with; the tests themselves are in `tests/`, by topic.
//!
//! - [`cluster`]: which cluster, and the operator on it. Who may disturb it, and when.
//! - [`space`]: a namespace for each test, with the words that tests are written in: create, accept, reject, wait.
//! - [`objects`]: manifests that several tests use.
//! - [`program`]: kubectl, helm and ffmpeg.
//! - [`load`]: labelled pods that are created all the time while something happens.
//! - [`operator`]: its replicas.
//! - [`policy`]: the policy and its bindings.
//! - [`webhook`]: the webhook as its clients see it.
//! - [`numbers`]: what components report of themselves.
//!
//! Everything here panics when something is not as it should be: that fails the test that asked.

#![allow(clippy::missing_panics_doc, reason = "said above, for all")]

pub mod cluster;
pub mod load;
pub mod numbers;
pub mod objects;
pub mod operator;
pub mod policy;
pub mod program;
pub mod space;
pub mod webhook;

pub use cluster::{alone, in_namespace, in_restricted_namespace, with_webhook};
pub use space::Space;
