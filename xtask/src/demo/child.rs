//! A process of the demo that cannot outlive it.
//!
//! The kernel ends a process when its parent dies if the process has asked for it (`PR_SET_PDEATHSIG`), after the fork
//! and before the exec. So a child is this program again, with the hidden subcommand [`SUBCOMMAND`]: it asks, then
//! becomes the program in its arguments (see [`run`]).

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child as Process, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid};

/// The name of the subcommand that becomes another program.
pub(crate) const SUBCOMMAND: &str = "become";

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How often that is checked.
const TICK: Duration = Duration::from_millis(5);
/// How many of a process's last lines an error message shows.
const KEPT_LINES: usize = 20;

/// Become another program that ends when the demo does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The demo's process; nothing is started if it is gone already
    parent: i32,
    /// The signal to get when it dies
    signal: Signal,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Asks for the signal and becomes the program; returns only if it can't.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    prctl::set_pdeathsig(args.signal).context("failed to ask for a signal at the parent's death")?;
    // The parent may have died just before.
    if getppid() != Pid::from_raw(args.parent) {
        bail!("the demo has ended");
    }
    // The demo's main thread blocks signals and waits for them; the program must get them.
    SigSet::all().thread_unblock().context("failed to unblock signals")?;
    let (program, arguments) = args.command.split_first().context("no program")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("failed to start {}", program.display()))
}

/// A running process of the demo; it is ended on drop.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: Process,
    status: Option<ExitStatus>,
    stderr_tail: Option<JoinHandle<String>>,
}

impl Child {
    /// Starts `command` so that it gets `at_parents_death` when this process dies. The command's program, arguments
    /// and variables count; its standard output is for [`Child::take_stdout`], each line of its standard error goes to
    /// `said`.
    pub(super) fn start(
        name: &'static str,
        command: &Command,
        stdin: Stdio,
        at_parents_death: Signal,
        said: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self> {
        // Not the path of this program: cargo may have replaced the file meanwhile.
        let mut wrapped = Command::new("/proc/self/exe");
        wrapped.arg(SUBCOMMAND).arg(std::process::id().to_string()).arg(at_parents_death.as_str()).arg("--");
        wrapped.arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(variable, value),
                None => wrapped.env_remove(variable),
            };
        }
        // A group of its own: Ctrl-C in the terminal reaches the demo alone, which ends its children in order.
        wrapped.process_group(0).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = wrapped.spawn().with_context(|| format!("failed to start the {name}"))?;
        let stderr = process.stderr.take().expect("stderr was asked for as a pipe");
        let stderr_tail = std::thread::spawn(move || last_lines(stderr, said));
        Ok(Self { name, process, status: None, stderr_tail: Some(stderr_tail) })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The read end of its standard output; can be taken once.
    pub(super) fn take_stdout(&mut self) -> Result<ChildStdout> {
        self.process.stdout.take().with_context(|| format!("the {}'s output is taken already", self.name))
    }

    /// Its exit status, if it has ended.
    pub(super) fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.process.try_wait().with_context(|| format!("failed to wait for the {}", self.name))?;
        }
        Ok(self.status)
    }

    /// Its exit status and its last lines, if it has failed.
    pub(super) fn failure(&mut self) -> Result<Option<String>> {
        Ok(match self.poll()? {
            Some(status) if !status.success() => Some(self.describe_end(status)),
            _ => None,
        })
    }

    /// Its exit status and the last lines of its standard error.
    pub(super) fn describe_end(&mut self, status: ExitStatus) -> String {
        let lines = self.stderr_tail.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let how = format!("the {} ended with {status}", self.name);
        if lines.is_empty() { how } else { format!("{how} and said:\n{lines}") }
    }

    /// Asks it to end, waits, and ends it if it has not after [`GRACE`]. An error says that it had to be killed.
    pub(super) fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.poll()? {
            return Ok(status);
        }
        let pid = Pid::from_raw(self.pid().try_into().context("a process id out of range")?);
        // It has not been waited for, so the id is still its own.
        kill(pid, signal).with_context(|| format!("failed to signal the {}", self.name))?;
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            std::thread::sleep(TICK);
        }
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .with_context(|| format!("failed to kill the {}", self.name))?;
        self.poll()?;
        bail!("the {} did not end within {} s after {signal} and was killed", self.name, GRACE.as_secs())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Only on errors and interrupts: an error is reported already.
        let _ = self.stop(Signal::SIGTERM);
    }
}

/// The last lines of `source`, indented; `said` gets every line.
fn last_lines(source: impl Read, mut said: impl FnMut(&str)) -> String {
    let mut kept = std::collections::VecDeque::new();
    for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        let line = String::from_utf8_lossy(&line);
        said(line.trim_end());
        kept.push_back(format!("    {}", line.trim_end()));
    }
    kept.into_iter().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_process_are_kept() {
        let text: Vec<u8> = (0..100).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut said = 0;
        let kept = last_lines(&text[..], |_| said += 1);
        assert_eq!(said, 100);
        assert_eq!(kept.lines().count(), KEPT_LINES);
        assert!(kept.starts_with("    line 80\n") && kept.ends_with("    line 99"), "{kept}");
    }
}
