//! `cargo xtask test`: all checks, in parts.
//!
//! - [`parts`]: the list of parts; add new ones there.
//! - [`counts`]: counts the tests of a command.
//! - [`lines`]: finds lines that are too long.
//! - [`report`]: the table and the last line.
//! - [`watchdog`]: ends a command that waits for ever.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::setup::{Need, Setup};
use crate::workspace::Workspace;
use counts::Counts;
use report::Outcome;

mod counts;
mod lines;
#[cfg(test)]
mod links;
mod parts;
mod report;
mod watchdog;

/// Check everything, or some parts of it.
///
/// Parts run in a fixed order, cheap ones first; a failed part does not stop the others. What a part needs is
/// installed if it is missing: on Debian as root, elsewhere the part fails and tells how. A command that
/// prints nothing for 25 minutes is ended, and counts as a failed test. The last line is `N passed, N failed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Parts to run; all if none is named
    #[arg(value_name = "PART", value_parser = PossibleValuesParser::new(parts::ALL.iter().map(|part| part.name)))]
    parts: Vec<String>,
    /// List the parts and what each needs, run none
    #[arg(long)]
    list: bool,
}

/// One part of the tests.
pub(crate) struct Part {
    /// Its name on the command line.
    name: &'static str,
    /// What it checks, in one line.
    about: &'static str,
    /// Everything that must be there besides cargo: listed by `--list`, installed before [`Part::run`].
    needs: fn() -> Vec<Need>,
    /// Runs it and counts. An error is a failed test.
    run: fn(&Workspace, &mut Setup) -> Result<Counts>,
}

/// Runs the parts that `args` name.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    let mut setup = Setup::new()?;
    let chosen = |part: &&Part| args.parts.is_empty() || args.parts.iter().any(|name| name == part.name);
    let outcomes: Vec<Outcome> =
        parts::ALL.iter().filter(chosen).map(|part| run_part(part, &workspace, &mut setup)).collect();
    Ok(report::print(&outcomes))
}

fn run_part(part: &Part, workspace: &Workspace, setup: &mut Setup) -> Outcome {
    println!("\n=== {}: {}", part.name, part.about);
    let (start, spent) = (Instant::now(), setup.spent());
    let result = (part.needs)().into_iter().try_for_each(|need| setup.provide(need)).and_then(|()| {
        let counts = (part.run)(workspace, setup)?;
        anyhow::ensure!(counts != Counts::default(), "no test ran");
        Ok(counts)
    });
    let (counts, note) = match result {
        Ok(counts) => (counts, None),
        Err(error) => {
            let note = format!("{error:#}");
            eprintln!("{}: {note}", part.name);
            (Counts::FAILED, Some(note))
        }
    };
    let took = setup.spent().saturating_sub(spent);
    let outcome = Outcome { part: part.name, counts, note, setup: took, time: start.elapsed().saturating_sub(took) };
    println!("=== {}: {}, {}", part.name, outcome.counts, report::time(outcome.time));
    outcome
}

fn list() {
    for Part { name, about, needs, .. } in parts::ALL {
        println!("{name:<14}{about}");
        for need in needs() {
            println!("{:<14}- needs {}", "", need.name());
        }
    }
}
