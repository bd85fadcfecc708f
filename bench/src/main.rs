//! `framebuffer-bench`: FrameBuffer beside other ways to move frames between the processes of a machine.
//!
//! `cargo xtask bench` builds and runs it; docs/benchmarks.md says what is measured and how to read it. Read it in this order:
//!
//! - [`transports`]: the ways that are compared, one file each.
//! - [`worker`]: one end of a transport in a process of its own, and the loops that measure; [`payload`], [`control`],
//!   [`wait`] and [`clock`] are what it works with.
//! - [`group`]: the workers of one transport; [`process`] starts and ends them, [`orders`] is what they are told, [`folder`]
//!   where their files are, [`interrupt`] how Ctrl-C ends all of it.
//! - [`run`]: rounds over all transports and sizes; [`http`]: what an allocation over HTTP costs.
//! - [`figures`]: what has been found; [`report`]: the table, the files and the chart; [`machine`]: on what was measured.
//! - [`check`]: a quick test that all transports deliver.

#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "figures for people, none of them negative")]

use std::process::ExitCode;

use clap::Parser;

mod check;
mod clock;
mod control;
mod figures;
mod folder;
mod group;
mod http;
mod interrupt;
mod machine;
mod orders;
mod payload;
mod process;
mod report;
mod run;
mod transports;
mod wait;
mod worker;

/// FrameBuffer beside other ways to move frames between processes.
#[derive(Debug, Parser)]
#[command(version, about)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    #[command(hide = true)]
    Worker(worker::Args),
    #[command(hide = true)]
    HttpServer(http::ServerArgs),
    #[command(name = process::BECOME, hide = true)]
    Become(process::BecomeArgs),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Run(args) => interrupt::watch().and_then(|()| run::run(&args)),
        Command::Check(args) => interrupt::watch().and_then(|()| check::run(&args)),
        Command::Worker(args) => worker::run(&args),
        Command::HttpServer(args) => http::serve(&args),
        Command::Become(args) => process::become_program(&args),
    };
    match (done, interrupt::signal()) {
        (Ok(()), _) => ExitCode::SUCCESS,
        // As shells have it.
        (Err(error), Some(signal)) => {
            eprintln!("{error:#}: all processes have ended, nothing is left behind");
            ExitCode::from(signal.exit_code())
        }
        (Err(error), None) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
