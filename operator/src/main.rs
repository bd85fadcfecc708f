//! `framebuffer-operator`: the command line. What it does is in the library of the same name.

use std::process::ExitCode;

use clap::Parser as _;
use framebuffer_operator::cli::{Cli, Command};
use framebuffer_operator::{commands, run};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => return run::main(*args),
        Command::Crd => commands::crd(),
        Command::Inject(args) => commands::inject(&args),
    };
    result.map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
