//! Sidecar, frame-writer and frame-reader as real processes: regular [`streams`], and the [`failures`] they survive.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod failures;
mod ring;
mod streams;
mod support;
