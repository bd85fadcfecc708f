//! Checks without running the product: formatting, lints, documentation, dependencies.

use anyhow::{Context, Result};

use crate::setup::{Need, Setup};
use crate::test::counts::{Counts, run};
use crate::test::{Part, lines};
use crate::workspace::Workspace;

pub(super) const FORMAT: Part = Part {
    name: "format",
    about: "the code is formatted as rustfmt.toml says; no line of Rust or Markdown is too long",
    needs: Vec::new,
    run: format,
};

pub(super) const CLIPPY: Part = Part {
    name: "clippy",
    about: "no warning from the compiler or clippy, in any target",
    needs: Vec::new,
    run: clippy,
};

pub(super) const DOCS: Part = Part {
    name: "docs",
    about: "the documentation builds without a warning, its examples run",
    needs: Vec::new,
    run: docs,
};

pub(super) const DENY: Part = Part {
    name: "deny",
    about: "licences, duplicates, sources and advisories of dependencies are as deny.toml demands",
    needs: || vec![Need::CARGO_DENY],
    run: deny,
};

fn format(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let mut counts = run(&mut workspace.cargo(["fmt", "--all", "--check"]))?;
    // The fuzz targets are a workspace of their own.
    if workspace.root.join("fuzz/Cargo.toml").exists() {
        counts = counts + run(&mut workspace.cargo(["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"]))?;
    }
    Ok(counts + lines::check(&workspace.root)?)
}

fn clippy(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let all = ["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"];
    // Without its default features, the client crate has code that nothing uses in the other builds.
    let bare = ["clippy", "--package=framebuffer", "--no-default-features", "--", "-Dwarnings"];
    Ok(run(&mut workspace.cargo(all))? + run(&mut workspace.cargo(bare))?)
}

fn docs(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let mut pages = workspace.cargo(["doc", "--workspace", "--no-deps"]);
    let mut examples = workspace.cargo(["test", "--workspace", "--doc", "--no-fail-fast"]);
    Ok(run(pages.env("RUSTDOCFLAGS", "-Dwarnings"))? + run(&mut examples)?)
}

fn deny(workspace: &Workspace, setup: &mut Setup) -> Result<Counts> {
    let deny = |arguments: &[&str]| {
        let mut command = workspace.cargo(["deny"]);
        command.args(arguments).env("PATH", setup.path());
        command
    };
    let counts = run(&mut deny(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    // The database is a repository on the internet, which not every machine reaches.
    let fetched = deny(&["fetch", "db"]).output().context("failed to start cargo")?;
    if !fetched.status.success() {
        println!("skipped: advisories are not checked, since their database can't be fetched");
        return Ok(counts + Counts::SKIPPED);
    }
    Ok(counts + run(&mut deny(&["check", "--disable-fetch", "advisories"]))?)
}
