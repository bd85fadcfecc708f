//! The first process inside the cluster's namespaces.
//!
//! It prepares the machine as the node sees it ([`machine`]), makes keys and certificates ([`pki`]), writes the
//! settings ([`settings`]), starts the components ([`components`]), waits until the node is ready, and then stays: it
//! reaps the processes that lost their parent, and when a component ends, so does the cluster, because half a cluster
//! fails tests without saying why.
//!
//! With `up` it talks over two pipes: it says its progress in lines on standard output, the last being [`READY`] or an
//! error; `up` answers with a line on standard input. If that ends without a line, `up` was killed, and so is this.

use std::fs;
use std::io::stdin;
use std::path::PathBuf;
use std::process::{ExitCode, exit};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::state::State;
use components::Components;

mod components;
pub(super) mod machine;
mod pki;
mod settings;

/// The name of the hidden subcommand.
pub(super) const SUBCOMMAND: &str = "node";
/// The line that says that the node is ready.
pub(super) const READY: &str = "ready";
/// How every line that tells an error begins.
pub(super) const ERROR: &str = "error: ";
/// The node's name.
const NODE: &str = "node0";
/// The node's address, on a bridge that is in the cluster's namespace only.
const NODE_ADDRESS: &str = "10.99.0.1";

/// The first process inside the cluster's namespaces.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images to import before the node starts
    archives: Vec<PathBuf>,
}

/// Starts the cluster and stays until it ends.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // In our own namespace of process ids, or else we would disturb the machine.
    ensure!(Pid::this() == Pid::from_raw(1), "started by cargo xtask cluster up only");
    let state = State::of_this_machine();
    let _alive = state.become_first_process()?;
    let (answer, answers) = channel();
    thread::spawn(move || {
        let mut line = String::new();
        if stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
            let _ = answer.send(());
        } else {
            exit(1);
        }
    });
    match start(&state, &args.archives, &answers) {
        Ok(components) => stay(&state, &components),
        Err(error) => {
            println!("{ERROR}{}", format!("{error:#}").replace('\n', &format!("\n{ERROR}")));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn start(state: &State, archives: &[PathBuf], answers: &Receiver<()>) -> Result<Components> {
    let began = Instant::now();
    let say = |what: &str| println!("{:5.1} s  {what}", began.elapsed().as_secs_f64());
    machine::prepare(state)?;
    pki::make(state)?;
    settings::write(state)?;
    let mut components = Components::new(state)?;
    components.start_store_and_runtime()?;
    components.import(archives)?;
    say("etcd, the API server and containerd run, images are imported");
    components.wait_for("the API server", &["get", "--raw", "/readyz"], |said| said == "ok")?;
    say("the API server is ready");
    components.start_node()?;
    let condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}{.spec.taints}";
    components.wait_for("the node", &["get", "node", NODE, "-o", condition], |said| said == "True")?;
    say("the node is ready");
    // Without it no pod can be created.
    components.wait_for("the default service account", &["get", "serviceaccount", "default", "-o=name"], |said| {
        !said.is_empty()
    })?;
    println!("{READY}");
    answers.recv_timeout(Duration::from_secs(10)).context("cargo xtask cluster up does not answer")?;
    Ok(components)
}

/// Reaps processes until one of the components ends. Nobody listens to our output any more.
fn stay(state: &State, components: &Components) -> Result<ExitCode> {
    loop {
        let (process, how) = match waitpid(None, None).context("failed to wait for the components")? {
            WaitStatus::Exited(process, code) => (process, format!("exit status {code}")),
            WaitStatus::Signaled(process, signal, _) => (process, signal.to_string()),
            _ => continue,
        };
        if let Some(name) = components.name_of(process) {
            let log = components.log_of(name);
            let why = format!("{name} ended with {how}, see {}", log.display());
            fs::write(state.path("log/ended"), why).context("failed to write why the cluster ended")?;
            return Ok(ExitCode::FAILURE);
        }
    }
}
