//! The parts of `cargo xtask test`.
//!
//! To add one, declare a [`Part`] in the file of its family or in a new one, and put it into [`ALL`], cheap ones first.
//! Builds with `RUSTFLAGS` of their own get a target folder of their own
//! ([`Workspace::target_for`](crate::workspace::Workspace::target_for)).

use super::Part;

mod c;
mod cluster;
mod fuzz;
mod instructions;
mod lints;
mod python;
mod sanitizers;
mod tests;

/// All parts in the order in which they run.
pub(super) const ALL: &[Part] = &[
    lints::FORMAT,
    lints::CLIPPY,
    lints::DOCS,
    tests::UNIT,
    tests::LOOM,
    tests::PROCESSES,
    c::C,
    tests::BENCH,
    python::PYTHON,
    sanitizers::SANITIZERS,
    fuzz::FUZZ,
    instructions::INSTRUCTIONS,
    lints::DENY,
    cluster::CHART,
    cluster::CLUSTER,
];
