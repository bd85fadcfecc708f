//! The sidecar: owns a FrameBuffer ring, serves its key and allocations over HTTP on loopback, exports metrics.
//!
//! Read it in this order:
//!
//! - [`cli`]: the commands and their flags; [`secret`]: the type of `--key`.
//! - [`serve`]: the life of the server, from the ring's creation to its removal; [`ring`]: the ring it owns now.
//! - [`api`]: for programs in the pod (`get_key`, `allocate`, `channels`); [`admin`], [`metrics`]: for kubelet and
//!   Prometheus; [`pieces`]: their long answers.
//! - [`stat`], [`top`], [`channels`], [`ls`], [`doctor`], [`healthcheck`]: tools for people and probes; [`report`]:
//!   channels and frames as JSON, for the API and these.
//!
//! The binary is the product. This library exists so that tests and benchmarks can reach the parts.

pub mod admin;
pub mod api;
pub mod channels;
pub mod cli;
pub mod doctor;
pub mod healthcheck;
pub mod ls;
pub mod metrics;
pub mod pieces;
pub mod report;
pub mod ring;
pub mod secret;
pub mod serve;
pub mod stat;
pub mod top;
