//! The sidecar: owns a FrameBuffer ring, hands out its key and its frames over HTTP on loopback, shows its metrics.
//!
//! Read it in this order:
//!
//! - [`cli`]: the commands and their flags; [`quantity`] and [`secret`] are two of their types.
//! - [`serve`]: the life of the server, from the ring's creation to its removal.
//! - [`api`]: what programs in the pod ask for (`get_key`, `allocate`); [`admin`] and [`metrics`]: what the kubelet and
//!   Prometheus ask for.
//! - [`stat`], [`top`], [`doctor`], [`healthcheck`]: tools for people and probes; [`http`] is what they ask a sidecar with.
//!
//! The binary is the product. This library exists so that tests and benchmarks can reach the parts.

pub mod admin;
pub mod api;
pub mod cli;
pub mod doctor;
pub mod healthcheck;
pub mod metrics;
pub mod secret;
pub mod serve;
pub mod stat;
pub mod top;
