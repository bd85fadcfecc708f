//! Checks without running the product: formatting, lints, documentation, dependencies.

use anyhow::Result;

use crate::setup::Setup;
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::Workspace;

pub(super) const FORMAT: Part =
    Part { name: "format", about: "the code is formatted as rustfmt.toml says", needs: &[], run: format };

pub(super) const CLIPPY: Part =
    Part { name: "clippy", about: "no warning from the compiler or clippy, in any target", needs: &[], run: clippy };

pub(super) const DOCS: Part =
    Part { name: "docs", about: "the documentation builds without a warning, its examples run", needs: &[], run: docs };

pub(super) const DENY: Part = Part {
    name: "deny",
    about: "licences, duplicates and sources of dependencies are as deny.toml says (if cargo-deny is installed)",
    needs: &[],
    run: deny,
};

fn format(workspace: &Workspace, _: &Setup) -> Result<Counts> {
    let mut counts = run(&mut workspace.cargo(["fmt", "--all", "--check"]))?;
    // The fuzz targets are a workspace of their own.
    if workspace.root.join("fuzz/Cargo.toml").exists() {
        counts = counts + run(&mut workspace.cargo(["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"]))?;
    }
    Ok(counts)
}

fn clippy(workspace: &Workspace, _: &Setup) -> Result<Counts> {
    let all = ["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"];
    // Without its default features, the client crate has code that nothing uses in the other builds.
    let bare = ["clippy", "--package=framebuffer", "--no-default-features", "--", "-Dwarnings"];
    Ok(run(&mut workspace.cargo(all))? + run(&mut workspace.cargo(bare))?)
}

fn docs(workspace: &Workspace, _: &Setup) -> Result<Counts> {
    let mut pages = workspace.cargo(["doc", "--workspace", "--no-deps"]);
    let mut examples = workspace.cargo(["test", "--workspace", "--doc", "--no-fail-fast"]);
    Ok(run(pages.env("RUSTDOCFLAGS", "-Dwarnings"))? + run(&mut examples)?)
}

fn deny(workspace: &Workspace, setup: &Setup) -> Result<Counts> {
    if !setup.has_program("cargo-deny") {
        println!("skipped: cargo-deny is not installed; to get it: cargo install cargo-deny --locked");
        return Ok(Counts::SKIPPED);
    }
    // Advisories change without us; CI of a change is the wrong place to learn of them.
    let mut command = workspace.cargo(["deny", "check", "licenses", "bans", "sources"]);
    run(command.env("PATH", setup.path()))
}
