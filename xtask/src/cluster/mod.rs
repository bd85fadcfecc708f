//! `cargo xtask cluster`: a real one-node Kubernetes to test on, from source modules, without a registry.
//!
//! `up`: get what it needs ([`setup`](crate::setup)) -> build Kubernetes, etcd and Helm once ([`programs`], how long
//! that takes is [`progress`]'s matter) -> make the test images ([`images`]) -> start the node in namespaces of its own
//! ([`up`] outside, [`node`] inside). [`down`] ends it and checks that nothing is left. Where the cluster's files are
//! and whether it is up is [`state`]'s matter. What people should know is in `docs/cluster.md`.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, geteuid};

use crate::setup::Setup;
use crate::workspace::Workspace;
use state::State;

mod cgroups;
mod down;
mod images;
mod node;
mod programs;
mod progress;
mod state;
mod up;

/// A real one-node Kubernetes on this machine, in namespaces of its own.
///
/// Needs root, installs Debian packages, and builds Kubernetes once, which takes about a quarter of an hour;
/// docs/cluster.md tells what it does to the machine and how to use a cluster of your own instead.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start the cluster and wait until its node is ready; say so if it is up already
    Up,
    /// End the cluster and check that no process, mount, interface or cgroup of it is left
    Down,
    /// Print the path of the kubeconfig; its address is good inside `exec` only
    Kubeconfig,
    /// Import images from OCI or Docker archives into the node
    Load {
        /// Archives, as `cargo xtask image` makes them
        #[arg(required = true, value_name = "ARCHIVE")]
        archives: Vec<PathBuf>,
    },
    /// Run a command inside the cluster's namespaces, with KUBECONFIG set, kubectl and helm in PATH
    Exec {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// kubectl on the cluster
    #[command(disable_help_flag = true)]
    Kubectl {
        /// The arguments of kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The first process inside the namespaces; started by `up`
    #[command(name = node::SUBCOMMAND, hide = true)]
    Node(node::Args),
}

/// Does what `args` say.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let machine = State::of_this_machine();
    match &args.action {
        Action::Up => Cluster::up(&Workspace::find()?, &mut Setup::new()?).map(drop)?,
        Action::Down => down::down()?,
        Action::Kubeconfig => {
            ensure_root()?;
            machine.expect_up()?;
            println!("{}", machine.kubeconfig().display());
        }
        Action::Load { archives } => Cluster::running()?.load(archives)?,
        Action::Exec { command } => {
            let (program, arguments) = command.split_first().context("no command")?;
            return Cluster::running()?.replace_by(program, arguments);
        }
        Action::Kubectl { arguments } => return Cluster::running()?.replace_by(&"kubectl".into(), arguments),
        Action::Node(args) => return node::run(args),
    }
    Ok(ExitCode::SUCCESS)
}

/// A cluster that is up.
#[derive(Debug)]
pub(crate) struct Cluster {
    state: State,
    /// Its first process.
    first: Pid,
}

impl Cluster {
    /// Starts the cluster if it is not up yet, waits until its node is ready.
    pub(crate) fn up(workspace: &Workspace, setup: &mut Setup) -> Result<Self> {
        ensure_root()?;
        let state = State::of_this_machine();
        let first = up::up(&state, workspace, setup)?;
        Ok(Self { state, first })
    }

    /// The cluster that is up.
    pub(crate) fn running() -> Result<Self> {
        ensure_root()?;
        let state = State::of_this_machine();
        let first = state.expect_up()?;
        Ok(Self { state, first })
    }

    /// `program` inside the cluster's namespaces, in this folder, with the variables that it needs there.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Result<Command> {
        let folder = env::current_dir().context("failed to find the current folder")?;
        let mut path = self.state.path("bin").into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("nsenter");
        let mut enter_folder = OsString::from("--wdns=");
        enter_folder.push(folder);
        command.arg(format!("--target={}", self.first)).args(["--net", "--mount", "--pid"]).arg(enter_folder);
        command.arg("--").arg(program.into());
        command.env("KUBECONFIG", self.state.kubeconfig()).env("PATH", path);
        Ok(command)
    }

    /// Imports images into the node.
    pub(crate) fn load(&self, archives: &[PathBuf]) -> Result<()> {
        for archive in archives {
            let shown = archive.display();
            // Through a pipe: the file may be in a folder that is another one inside.
            let file = File::open(archive).with_context(|| format!("failed to open {shown}"))?;
            let mut ctr = self.command("ctr")?;
            ctr.arg("--address").arg(self.state.containerd_socket()).args([
                "--namespace=k8s.io",
                "images",
                "import",
                "-",
            ]);
            let output = ctr.stdin(file).output().context("failed to start ctr")?;
            if !output.status.success() {
                bail!("failed to import {shown}: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(())
    }

    /// Becomes a program inside; returns only if it can't.
    fn replace_by(&self, program: &OsString, arguments: &[OsString]) -> Result<ExitCode> {
        let error = self.command(program)?.args(arguments).exec();
        Err(error).context("failed to start nsenter")
    }
}

/// Ends the cluster that is up, and checks that nothing is left.
pub(crate) fn end() -> Result<()> {
    down::down()
}

/// From now on SIGINT, SIGTERM and SIGHUP end the cluster, whatever is being done with it, and then this process.
pub(crate) fn end_on_signal() -> Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    // Blocked in this thread, which starts all others; not in the programs that are run.
    set.thread_block().context("failed to block signals")?;
    thread::spawn(move || {
        let Ok(signal) = set.wait() else { return };
        eprintln!("{signal}: ending the cluster that was started for the tests");
        if let Err(error) = down::down() {
            eprintln!("failed to end it: {error:#}; try again: cargo xtask cluster down");
        }
        // As a shell reports a process that a signal has ended.
        process::exit(128 + signal as i32);
    });
    Ok(())
}

/// Helm as the cluster has it, built if it is not there yet.
pub(crate) fn helm(workspace: &Workspace, setup: &Setup) -> Result<PathBuf> {
    Ok(programs::provide(workspace, setup)?.join("helm"))
}

fn ensure_root() -> Result<()> {
    ensure!(geteuid().is_root(), "the cluster needs root: namespaces, mounts, cgroups");
    Ok(())
}
