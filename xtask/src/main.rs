//! `cargo xtask`: the repository's commands.
//!
//! - [`mod@test`]: all checks, in parts; [`setup`] installs what a part needs.
//! - [`demo`]: a video through a ring, as three processes.
//! - [`mod@bench`]: FrameBuffer beside other ways to move frames.
//! - [`install_c`]: the C library, for programs in C and C++.
//! - [`image`]: container images with one static program each.
//! - [`cluster`]: a real one-node Kubernetes to test on, from the crate [`framebuffer_cluster`].
//! - [`workspace`]: where the repository is and how cargo is called in it.

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod cluster;
mod demo;
mod image;
mod install_c;
mod setup;
mod test;
mod workspace;

/// The repository's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    Test(test::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    InstallC(install_c::Args),
    Image(image::Args),
    Cluster(cluster::Args),
    #[command(name = demo::child::SUBCOMMAND, hide = true)]
    Child(demo::child::Args),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::InstallC(args) => install_c::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Child(args) => demo::child::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
