//! The C library, installed and used as its users do.

use anyhow::Result;

use super::rust::build_programs;
use crate::install_c;
use crate::setup::{Need, Setup};
use crate::test::Part;
use crate::test::counts::{Counts, run};
use crate::workspace::Workspace;

pub(super) const C: Part = Part {
    name: "c",
    about: "the C library and its headers: examples and checks in C and C++, under sanitizers and valgrind too",
    needs: || {
        let packages = ["cmake", "make", "pkg-config", "valgrind"].map(|name| Need::Package { name, gives: name });
        [Need::Cxx].into_iter().chain(packages).collect()
    },
    run: c,
};

fn c(workspace: &Workspace, _: &mut Setup) -> Result<Counts> {
    let prefix = workspace.target.join("c");
    install_c::install(workspace, &prefix)?;
    let built = build_programs(workspace)?;
    if built.failed > 0 {
        return Ok(built);
    }
    let mut command = workspace.cargo(["test", "--workspace", "--no-fail-fast"]);
    command.args(workspace.select("test", |package| package == "framebuffer-c"));
    command.args(["--", "--include-ignored"]).env("FRAMEBUFFER_C_PREFIX", prefix);
    run(command.env("FRAMEBUFFER_SIDECAR", workspace.fast_binary("framebuffer-sidecar")))
}
