//! [`exec`]: runs a program inside the cluster's namespaces, and ends it when this one is ended.
//!
//! What runs inside starts others (cargo, tests, helm), and none of them notices that whoever wanted it is gone. So it
//! gets a process group of its own, and the whole group is ended when this process is asked to end or its parent ends.
//! A guard, which is this program once more, does so if this process is killed.
//!
//! At a terminal the program takes this one's place instead: the terminal's keys, job control included, are its own.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Read as _, Write as _, stdin};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{self, Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result};
use framebuffer_signals::{Signal, on_signals};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{self, killpg};
use nix::unistd::Pid;

/// The hidden subcommand that is the guard.
pub(super) const GUARD: &str = "guard";

/// How long a group may take to end by itself, and then to be killed.
const GRACE: Duration = Duration::from_secs(3);

/// Runs `command` to its end, or becomes it at a terminal. Its exit code is returned; 128 and the number of the signal
/// that has ended it, as by a shell.
///
/// # Errors
///
/// It can't be started.
pub(super) fn exec(mut command: Command) -> Result<ExitCode> {
    const START: &str = "failed to start nsenter";
    if stdin().is_terminal() {
        return Err(command.exec()).context(START);
    }
    set_pdeathsig(signal::Signal::SIGTERM).context("failed to ask for a signal at the parent's end")?;
    let group = Arc::new(OnceLock::<Pid>::new());
    let asked = Arc::new(OnceLock::<Signal>::new());
    let (known, first) = (Arc::clone(&group), Arc::clone(&asked));
    let end_all = move |signal: Signal| {
        first.get_or_init(|| signal);
        if let Some(group) = known.get() {
            eprintln!("{signal}: ending what runs in the cluster");
            end(*group);
        }
        process::exit(signal.exit_code().into());
    };
    on_signals(&Signal::ALL, end_all).context("failed to catch signals")?;
    let mut child = command.process_group(0).spawn().context(START)?;
    let leader = *group.get_or_init(|| id(&child));
    let mut guard = start_guard(leader)?;
    let status = child.wait().context("failed to wait for nsenter")?;
    // Others of its group may have got no signal.
    if status.signal().is_some() {
        end(leader);
    }
    if let Some(signal) = asked.get() {
        return Ok(ExitCode::from(signal.exit_code()));
    }
    // What it has left running on purpose stays.
    let mut order = guard.stdin.take().context("the guard has no standard input")?;
    order.write_all(b"dismissed\n").context("failed to dismiss the guard")?;
    drop(order);
    guard.wait().context("failed to wait for the guard")?;
    Ok(code(status))
}

/// The guard: ends the group, unless it is dismissed before its standard input ends.
pub(super) fn guard(group: i32) -> Result<ExitCode> {
    let mut order = String::new();
    stdin().read_to_string(&mut order).context("failed to read from the standard input")?;
    if order.is_empty() {
        end(Pid::from_raw(group));
    }
    Ok(ExitCode::SUCCESS)
}

fn start_guard(group: Pid) -> Result<Child> {
    let own = env::current_exe().context("failed to find this program")?;
    let number = group.to_string();
    let mut guard = Command::new(own);
    guard.args(["cluster", GUARD, &number].map(OsStr::new));
    // Out of reach of the terminal's keys, and of who ends this group.
    guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    guard.spawn().context("failed to start the guard")
}

fn id(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Asks all processes of a group to end, kills those that don't, and waits until none is left.
fn end(group: Pid) {
    for signal in [signal::Signal::SIGTERM, signal::Signal::SIGKILL] {
        // It fails if none is left.
        let _ = killpg(group, signal);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if is_gone(group) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_gone(group: Pid) -> bool {
    killpg(group, None).is_err()
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
