//! The first process inside the cluster's namespaces.
//!
//! It prepares the machine as the node sees it ([`machine`]), makes keys and certificates ([`pki`]), writes the
//! configuration files ([`settings`]), starts the components ([`components`]), waits until the node is ready, and then
//! stays: it reaps orphaned processes, and it ends when a component ends, because tests on half a cluster fail without
//! telling why.
//!
//! It talks to `up` over two pipes: it reports its progress in lines on standard output, the last of them [`READY`] or
//! an error; `up` answers with a line on standard input. If that ends without a line, `up` was killed, and this ends
//! too.

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

use crate::state::State;
use components::Components;

mod components;
pub(crate) mod machine;
mod pki;
mod settings;

/// The line that reports that the node is ready.
pub(crate) const READY: &str = "ready";
/// How every line of an error begins.
pub(crate) const ERROR: &str = "error: ";
/// The node's name.
const NODE: &str = "node0";
/// The node's address, on a bridge that is in the cluster's namespace only.
const NODE_ADDRESS: &str = "10.99.0.1";

/// Is the first process inside the cluster's namespaces, until the cluster ends: the command line that is given to
/// [`Cluster::up`](crate::Cluster::up) calls it. `archives` are images to import before the node starts.
///
/// # Errors
///
/// If this process was started in any other way.
pub fn run(archives: &[PathBuf]) -> Result<ExitCode> {
    // In any other namespace of process ids it would disturb the machine.
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
    match start(&state, archives, &answers) {
        Ok(components) => stay(&state, &components),
        Err(error) => {
            println!("{ERROR}{}", format!("{error:#}").replace('\n', &format!("\n{ERROR}")));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn start(state: &State, archives: &[PathBuf], answers: &Receiver<()>) -> Result<Components> {
    let began = Instant::now();
    let report = |event: &str| println!("{:5.1} s  {event}", began.elapsed().as_secs_f64());
    machine::prepare(state)?;
    pki::make(state)?;
    settings::write(state)?;
    let mut components = Components::new(state)?;
    components.start_store_and_runtime()?;
    components.import(archives)?;
    report("etcd, the API server and containerd run, images are imported");
    components.wait_for("the API server", &["get", "--raw", "/readyz"], |said| said == "ok")?;
    report("the API server is ready");
    components.start_node()?;
    let condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}{.spec.taints}";
    components.wait_for("the node", &["get", "node", NODE, "-o", condition], |said| said == "True")?;
    report("the node is ready");
    // No pod can be created without it.
    components.wait_for("the default service account", &["get", "serviceaccount", "default", "-o=name"], |said| {
        !said.is_empty()
    })?;
    println!("{READY}");
    answers.recv_timeout(Duration::from_secs(10)).context("cargo xtask cluster up does not answer")?;
    Ok(components)
}

/// Reaps processes until one of the components ends. Nobody reads this process's output any more.
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
