//! The facts that FrameBuffer's crates share, each stated once.
//!
//! - [`variables`]: names of environment variables; [`defaults`]: the values that apply when they are not set.
//! - [`kubernetes`]: names in pods and manifests.
//! - [`Quantity`] and [`MilliCpu`]: amounts in Kubernetes' notation.
//! - [`Geometry`] and [`segment_length`]: the length of a ring's segment.
//!
//! It makes no system calls and needs no runtime, so every crate can depend on it. It is internal to this workspace:
//! semantic versioning does not cover its API.

pub mod defaults;
pub mod kubernetes;
mod quantity;
pub mod segment;
pub mod variables;

pub use quantity::{InvalidQuantity, MilliCpu, Quantity};
pub use segment::{Geometry, InvalidSize, segment_length};
