//! Starting the cluster, seen from outside of its namespaces.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::state::{Found, State};
use super::{down, images, node, programs};
use crate::setup::{Need, Setup};
use crate::workspace::Workspace;

/// What must be installed, in the order of use.
const NEEDS: &[Need] = &[
    Need::Go,
    Need::Package { name: "containerd", gives: "containerd" },
    Need::Package { name: "runc", gives: "runc" },
    Need::Package { name: "containernetworking-plugins", gives: "/usr/lib/cni/bridge" },
    Need::Package { name: "iptables", gives: "iptables" },
    Need::Package { name: "iproute2", gives: "ip" },
    Need::Package { name: "conntrack", gives: "conntrack" },
    Need::Package { name: "openssl", gives: "openssl" },
    Need::Package { name: "util-linux", gives: "nsenter" },
    Need::Package { name: "buildah", gives: "buildah" },
    Need::Package { name: "busybox-static", gives: "busybox" },
];

/// Starts the cluster if it is not up yet, gives its first process.
pub(super) fn up(state: &State, workspace: &Workspace, setup: &mut Setup) -> Result<Pid> {
    if let Found::Up(first) = state.find()? {
        return say_that_it_is_up(state, first);
    }
    // Before the lock: it may take long and disturbs no cluster.
    NEEDS.iter().try_for_each(|need| setup.provide(*need))?;
    let programs = programs::provide(workspace, setup)?;
    let archives = images::provide(setup)?;
    let _exclusive = state.lock()?;
    if let Found::Up(first) = state.find()? {
        return say_that_it_is_up(state, first);
    }
    if state.has_traces() {
        println!("removing what a cluster that was not ended in order has left");
        down::end(state)?;
        state.create()?;
    }
    let start = Instant::now();
    let first = start_node(state, workspace, &programs, &archives).inspect_err(|_| {
        if let Err(error) = down::end(state) {
            eprintln!("failed to clean up: {error:#}");
        }
    })?;
    println!("the cluster is up after {:.1} s: cargo xtask cluster kubectl get pods -A", start.elapsed().as_secs_f64());
    Ok(first)
}

fn say_that_it_is_up(state: &State, first: Pid) -> Result<Pid> {
    let whose = fs::read_to_string(state.path("ready")).context("failed to read who started the cluster")?;
    println!("the cluster is up already (process {first}, started from {})", whose.trim());
    Ok(first)
}

fn start_node(state: &State, workspace: &Workspace, programs: &Path, archives: &[PathBuf]) -> Result<Pid> {
    fs::create_dir_all(state.path("log")).context("failed to create a folder for logs")?;
    symlink(programs, state.path("bin")).context("failed to link the programs")?;
    let mut node = spawn(state, archives)?;
    let mut answer = node.stdin.take().expect("stdin was asked for as a pipe");
    follow(&mut node).inspect_err(|_| {
        // Whatever it was: if it still runs it ends with `answer`.
        let _ = node.kill();
    })?;
    let Found::Unfinished(first) = state.find()? else { bail!("the cluster has ended just after it was ready") };
    let ready = state.path("ready");
    fs::write(&ready, format!("{}\n", workspace.root.display()))
        .with_context(|| format!("failed to write {}", ready.display()))?;
    answer.write_all(b"stay\n").context("the cluster has ended just after it was ready")?;
    Ok(first)
}

/// Starts the first process in new namespaces. If it or its parent ends, everything inside does.
fn spawn(state: &State, archives: &[PathBuf]) -> Result<Child> {
    let own = env::current_exe().context("failed to find this program")?;
    let log = File::create(state.path("log/node.log")).context("failed to create a log")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "--"]);
    command.arg(own).args(["cluster", node::SUBCOMMAND]).args(archives);
    // Not to be reached by the terminal's Ctrl-C, neither now (`answer` ends then) nor later.
    command.process_group(0).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    command.spawn().context("failed to start unshare")
}

/// Shows what it says until it is ready.
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
