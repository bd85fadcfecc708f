//! The parts of `cargo xtask test`.
//!
//! To add one, declare a [`Part`] in the file of its family or in a new one, and put it into [`ALL`], cheap ones first.
//!
//! Nothing is built twice if it can be helped: programs and tests of whole processes have the profile `fast`,
//! everything else the profile `dev`; tests are selected out of the whole workspace
//! ([`Workspace::select`](crate::workspace::Workspace::select)); builds with `RUSTFLAGS` name a target
//! ([`THIS_MACHINE`](crate::workspace::THIS_MACHINE)).

use super::Part;

mod c;
mod cluster;
mod fuzz;
mod instructions;
mod lints;
mod python;
mod rust;
mod sanitizers;

/// All parts in the order in which they run.
pub(super) const ALL: &[Part] = &[
    lints::FORMAT,
    lints::CLIPPY,
    rust::UNIT,
    lints::DOCS,
    lints::DENY,
    instructions::INSTRUCTIONS,
    rust::LOOM,
    rust::PROCESSES,
    c::C,
    python::PYTHON,
    rust::BENCH,
    sanitizers::SANITIZERS,
    fuzz::FUZZ,
    cluster::CHART,
    cluster::CLUSTER,
];
