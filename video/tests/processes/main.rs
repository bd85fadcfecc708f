//! Sidecar, frame-writer and frame-reader as real processes: [`streams`] is what they do, [`failures`] what they survive.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod failures;
mod ring;
mod streams;
mod support;
