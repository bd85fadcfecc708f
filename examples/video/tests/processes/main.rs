//! Sidecar, frame-writer and frame-reader as real processes: [`streams`] is what they do, [`failures`] what they survive.

mod failures;
mod ring;
mod streams;
mod support;
