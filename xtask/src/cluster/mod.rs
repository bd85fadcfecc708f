//! `cargo xtask cluster`: the commands of the test cluster, which is [`framebuffer_cluster`]. [`mod@exec`] runs a
//! program inside, and ends it.

mod exec;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use framebuffer_cluster::{Cluster, PACKAGES, Package, Sources, down, run_node};

use crate::setup::{Need, Setup};
use crate::workspace::Workspace;

/// The hidden subcommand that is the cluster's first process.
const NODE: &str = "node";

/// A real one-node Kubernetes on this machine, in namespaces of its own.
///
/// Needs root, installs Debian packages, and builds Kubernetes once, which takes about a quarter of an hour.
/// docs/cluster.md describes what it does to the machine and how to use a cluster of your own instead.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start the cluster if it is not up yet, and wait until its node is ready
    Up {
        /// Minor version of Kubernetes, one of those in cluster/versions; by default the one that the tests use
        #[arg(long, value_name = "MINOR", value_parser = minor)]
        kubernetes: Option<String>,
    },
    /// End the cluster and check that no process, mount, interface or cgroup of it is left
    Down,
    /// Print the path of the kubeconfig; its address is valid inside `exec` only
    Kubeconfig,
    /// Import images from OCI or Docker archives into the node
    Load {
        /// Archives, as `cargo xtask image` makes them
        #[arg(required = true, value_name = "ARCHIVE")]
        archives: Vec<PathBuf>,
    },
    /// Run a command inside the cluster's namespaces, with KUBECONFIG set, kubectl and helm in PATH; it ends with this
    Exec {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Run kubectl on the cluster
    #[command(disable_help_flag = true)]
    Kubectl {
        /// The arguments of kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Ends a process group when the standard input ends without a word; started by `exec`
    #[command(name = exec::GUARD, hide = true)]
    Guard {
        /// The group's number
        group: i32,
    },
    /// The first process inside the namespaces; started by `up`
    #[command(name = NODE, hide = true)]
    Node {
        /// Images to import before the node starts
        archives: Vec<PathBuf>,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.action {
        Action::Up { kubernetes } => {
            up(&Workspace::find()?, &mut Setup::new()?, kubernetes.as_deref()).map(drop)?;
        }
        Action::Down => down()?,
        Action::Kubeconfig => println!("{}", Cluster::running()?.kubeconfig().display()),
        Action::Load { archives } => Cluster::running()?.load(archives)?,
        Action::Exec { command } => {
            let (program, arguments) = command.split_first().context("no command")?;
            return exec(program, arguments);
        }
        Action::Guard { group } => return exec::guard(*group),
        Action::Kubectl { arguments } => return exec("kubectl", arguments),
        Action::Node { archives } => return run_node(archives),
    }
    Ok(ExitCode::SUCCESS)
}

/// The needs of [`up`].
pub(crate) fn needs() -> Vec<Need> {
    let packages = PACKAGES.map(|Package { name, gives }| Need::Package { name, gives });
    [Need::Root, Need::Go].into_iter().chain(packages).collect()
}

/// Installs what the cluster needs, and starts it if it is not up yet: with the minor version `kubernetes`, if one is
/// given.
pub(crate) fn up(workspace: &Workspace, setup: &mut Setup, kubernetes: Option<&str>) -> Result<Cluster> {
    needs().into_iter().try_for_each(|need| setup.provide(need))?;
    let own = env::current_exe().context("failed to find this program")?;
    let sources = Sources { kubernetes: kubernetes.map(str::to_owned), ..sources(workspace, setup)? };
    Cluster::up(&sources, &[own.into(), "cluster".into(), NODE.into()])
}

/// A minor version, as in `1.33`.
fn minor(text: &str) -> Result<String, &'static str> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_minor = text.split_once('.').is_some_and(|(major, minor)| is_number(major) && is_number(minor));
    if is_minor { Ok(text.to_owned()) } else { Err("a minor version is expected, as in 1.33") }
}

/// The sources of the cluster's programs. Needs [`Need::Go`].
pub(crate) fn sources(workspace: &Workspace, setup: &Setup) -> Result<Sources> {
    let repository = workspace.root.clone();
    Ok(Sources { repository, go: setup.go()?, cache: setup.cache().join("cluster"), kubernetes: None })
}

/// Runs a program inside the cluster's namespaces.
fn exec(program: impl Into<OsString>, arguments: &[OsString]) -> Result<ExitCode> {
    let mut command = Cluster::running()?.command(program)?;
    command.args(arguments);
    exec::exec(command)
}
