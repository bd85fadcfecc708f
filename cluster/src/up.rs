//! Starts the cluster, from outside its namespaces.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;

use crate::programs::{Sources, is_of_minor, provide_programs};
use crate::state::{State, Status};
use crate::{down, images, node};

/// Starts the cluster if it is not up yet, and returns its first process.
pub(crate) fn up(state: &State, sources: &Sources, node: &[OsString]) -> Result<Pid> {
    if let Status::Up(first) = state.find()? {
        return report_that_it_is_up(state, first, sources);
    }
    // Before the lock: building may take long and disturbs no cluster.
    let programs = provide_programs(sources)?;
    let archives = images::provide(&sources.cache)?;
    let _lock = state.lock()?;
    if let Status::Up(first) = state.find()? {
        return report_that_it_is_up(state, first, sources);
    }
    if state.has_leftovers() {
        println!("removing the leftovers of a cluster that was killed");
        down::end(state)?;
        state.create()?;
    }
    let start = Instant::now();
    let command = unshare(node, &archives);
    let first = start_node(state, &sources.repository, &programs, command).inspect_err(|_| {
        if let Err(error) = down::end(state) {
            eprintln!("failed to clean up: {error:#}");
        }
    })?;
    println!("the cluster is up after {:.1} s: cargo xtask cluster kubectl get pods -A", start.elapsed().as_secs_f64());
    Ok(first)
}

/// Nothing is done then, unless another version was asked for.
fn report_that_it_is_up(state: &State, first: Pid, sources: &Sources) -> Result<Pid> {
    let origin = fs::read_to_string(state.path("ready")).context("failed to read who started the cluster")?;
    if let Some(asked) = &sources.kubernetes {
        let programs = fs::read_link(state.path("bin")).context("failed to read which programs the cluster runs")?;
        let name = programs.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_asked = name.strip_prefix("kubernetes-").is_some_and(|version| is_of_minor(version, asked));
        ensure!(is_asked, "the cluster that is up runs {name}, not {asked}: cargo xtask cluster down");
    }
    println!("the cluster is up already (process {first}, started from {})", origin.trim());
    Ok(first)
}

fn start_node(state: &State, repository: &Path, programs: &Path, command: Command) -> Result<Pid> {
    fs::create_dir_all(state.path("log")).context("failed to create a folder for logs")?;
    symlink(programs, state.path("bin")).context("failed to link the programs")?;
    let mut node = spawn(state, command)?;
    let mut answer = node.stdin.take().expect("stdin was asked for as a pipe");
    follow(&mut node).inspect_err(|_| {
        // It may have ended already; if it hasn't, it ends when `answer` is dropped.
        let _ = node.kill();
    })?;
    let Status::Starting(first) = state.find()? else { bail!("the cluster has ended just after it was ready") };
    let ready = state.path("ready");
    fs::write(&ready, format!("{}\n", repository.display()))
        .with_context(|| format!("failed to write {}", ready.display()))?;
    answer.write_all(b"stay\n").context("the cluster has ended just after it was ready")?;
    Ok(first)
}

/// The command of the first process, in new namespaces. If it or its parent ends, everything inside does.
fn unshare(node: &[OsString], archives: &[PathBuf]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "--"])
        .args(node)
        .args(archives);
    // Out of reach of the terminal's Ctrl-C, now (the pipe to it ends then) and later.
    command.process_group(0).current_dir("/");
    command
}

fn spawn(state: &State, mut command: Command) -> Result<Child> {
    let log = File::create(state.path("log/node.log")).context("failed to create a log")?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    command.spawn().context("failed to start unshare")
}

/// Prints the node's progress until it is ready.
fn follow(node: &mut Child) -> Result<()> {
    let said = node.stdout.take().expect("stdout was asked for as a pipe");
    let mut errors = Vec::new();
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        if line == node::READY {
            return Ok(());
        }
        match line.strip_prefix(node::ERROR) {
            Some(error) => errors.push(error.to_owned()),
            None => println!("{line}"),
        }
    }
    let status = node.wait().context("failed to wait for the cluster's first process")?;
    if errors.is_empty() {
        bail!("the cluster's first process ended with {status}: new namespaces may not be allowed here");
    }
    bail!("{}", errors.join("\n"))
}
