//! `framebuffer-sidecar`: the command line. The library of the same name does the work.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use framebuffer_sidecar::cli::{Cli, Command};
use framebuffer_sidecar::{channels, doctor, healthcheck, ls, serve, stat, top};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        // Reports its own errors: in its log, in the log's format.
        Command::Serve(args) => return serve::main(args),
        Command::Stat(args) => stat::main(&args),
        Command::Top(args) => top::main(&args),
        Command::Channels(args) => channels::main(&args),
        Command::Ls(args) => ls::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Healthcheck(args) => healthcheck::main(&args),
    };
    result.unwrap_or_else(|error| {
        // Nobody is left to tell if that fails.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
