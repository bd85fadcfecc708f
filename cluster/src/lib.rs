//! A real one-node Kubernetes to test on, built from source modules, without a registry.
//!
//! Read in this order:
//!
//! - `packages`: the Debian packages that a cluster runs on.
//! - `programs`: builds Kubernetes, etcd and Helm once, from [`Sources`]; `progress` estimates how long that takes.
//! - `images`: makes the test images with [`Buildah`].
//! - `up`: starts the node, outside its namespaces; `node` is the node, inside them.
//! - `down`: ends the node and checks that nothing is left.
//! - `state`: where the cluster's files are, and whether it is up; `cgroups`: its cgroup.
//!
//! A cluster needs root and belongs to the machine: there is one, whichever process or checkout started it. Commands
//! that start or end it wait for each other. `docs/cluster.md` describes it for users; `cargo xtask cluster` is the
//! command.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{self, Command};

use anyhow::{Context, Result};
use framebuffer_signals::{Signal, on_signals};
use nix::unistd::Pid;

use images::import;
use state::{State, ensure_root};

pub use buildah::Buildah;
pub use down::down;
pub use node::run as run_node;
pub use packages::{PACKAGES, Package};
pub use programs::{Sources, provide_programs};

mod buildah;
mod cgroups;
mod command;
mod down;
mod images;
mod node;
mod packages;
mod programs;
mod progress;
mod state;
mod up;

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    state: State,
    /// Its first process.
    first: Pid,
}

impl Cluster {
    /// Starts the cluster if it is not up yet, and waits until its node is ready.
    ///
    /// [`PACKAGES`] must be installed. `node` is a command line of this program that calls [`run_node`] with the paths
    /// that are appended to it; it is started in new namespaces and is the cluster's first process.
    ///
    /// # Errors
    ///
    /// If this is not root, if a program can't be built, or if a component does not get ready. Nothing is left then.
    pub fn up(sources: &Sources, node: &[OsString]) -> Result<Self> {
        ensure_root()?;
        let state = State::of_this_machine();
        let first = up::up(&state, sources, node)?;
        Ok(Self { state, first })
    }

    /// The cluster that is up.
    ///
    /// # Errors
    ///
    /// If this is not root, or no cluster is up; the error tells how to start one.
    pub fn running() -> Result<Self> {
        ensure_root()?;
        let state = State::of_this_machine();
        let first = state.expect_up()?;
        Ok(Self { state, first })
    }

    /// The path of the administrator's kubeconfig; its address is valid inside the cluster's namespaces.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.kubeconfig()
    }

    /// `program` inside the cluster's namespaces, in the current folder, with `KUBECONFIG` set, kubectl and helm in
    /// `PATH`.
    ///
    /// # Errors
    ///
    /// If there is no current folder.
    pub fn command(&self, program: impl Into<OsString>) -> Result<Command> {
        let folder = env::current_dir().context("failed to find the current folder")?;
        let mut path = self.state.path("bin").into_os_string();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut enter_folder = OsString::from("--wdns=");
        enter_folder.push(folder);
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.first)).args(["--net", "--mount", "--pid"]).arg(enter_folder);
        command.arg("--").arg(program.into());
        command.env("KUBECONFIG", self.state.kubeconfig()).env("PATH", path);
        Ok(command)
    }

    /// Imports images from OCI or Docker archives into the node, and prints their names.
    ///
    /// # Errors
    ///
    /// If an archive can't be opened or imported; those before it are imported then.
    pub fn load(&self, archives: &[PathBuf]) -> Result<()> {
        for archive in archives {
            print!("{}", import(archive, self.command("ctr")?, &self.state)?);
        }
        Ok(())
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP end the cluster, whatever it is used for, and then this process.
///
/// # Errors
///
/// If the signals can't be caught.
pub fn end_on_signal() -> Result<()> {
    let end = |signal: Signal| {
        eprintln!("{signal}: ending the cluster that was started for the tests");
        if let Err(error) = down::down() {
            eprintln!("failed to end it: {error:#}; try again: cargo xtask cluster down");
        }
        process::exit(i32::from(signal.exit_code()));
    };
    on_signals(&Signal::ALL, end).context("failed to catch signals")
}
