//! A child process that cannot outlive the coordinator, and a worker among them that answers orders.
//!
//! Every child is this program once more: it asks the kernel to be ended with its parent, then executes its real
//! program ([`become_program`]). The kernel ends it when the *thread* ends that started it, so only the main thread
//! starts any.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

use crate::interrupt;
use crate::orders::{Answer, Order};

/// The hidden subcommand that becomes another program.
pub(crate) const BECOME: &str = "become";

/// How often a wait looks whether somebody has interrupted.
const TICK: Duration = Duration::from_millis(50);
/// How long a child may take to end after it was told.
const GRACE: Duration = Duration::from_secs(5);

/// Become another program that ends when its parent does.
#[derive(Debug, clap::Args)]
pub(crate) struct BecomeArgs {
    /// The parent; nothing is started if it is gone already
    parent: i32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Returns only if it can't.
pub(crate) fn become_program(args: &BecomeArgs) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("failed to ask for a signal at the parent's death")?;
    ensure!(getppid() == Pid::from_raw(args.parent), "the coordinator has ended");
    // The coordinator blocks signals to wait for them.
    SigSet::all().thread_unblock().context("failed to unblock signals")?;
    let (program, arguments) = args.command.split_first().context("no program")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("failed to start {}", program.display()))
}

/// From now on, orphans in this process tree become children of this process: Python's trackers of shared memory
/// outlive the workers that they track.
///
/// # Errors
///
/// If the kernel refuses.
pub(crate) fn adopt_orphans() -> Result<()> {
    prctl::set_child_subreaper(true).context("failed to adopt orphans")
}

/// Waits for orphans to end, when all other children have. They have nothing more to do, so it takes a moment.
pub(crate) fn reap_orphans() {
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(2)),
            Ok(_) => {}
            // There are no children left.
            Err(_) => return,
        }
    }
}

/// A child process. Dropped, it is killed and waited for.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, whose standard error goes to a file in `dir`.
    pub(crate) fn start(name: String, dir: &Path, command: &Command, stdin: Stdio, stdout: Stdio) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let stderr = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
        // Not the path of this program: cargo may have replaced the file meanwhile.
        let mut wrapped = Command::new("/proc/self/exe");
        wrapped.arg(BECOME).arg(std::process::id().to_string()).arg("--");
        wrapped.arg(command.get_program()).args(command.get_args());
        // A group of its own: Ctrl-C in the terminal reaches the coordinator alone.
        wrapped.process_group(0).stdin(stdin).stdout(stdout).stderr(stderr);
        let child = wrapped.spawn().with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits for its end, and ends it after a while.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + GRACE;
        while self.child.try_wait().context("failed to wait for a child")?.is_none() {
            ensure!(Instant::now() < deadline, "{} did not end within {} s", self.name, GRACE.as_secs());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// How it ended, if it has, and its last words.
    fn obituary(&mut self) -> String {
        let how = match self.child.try_wait() {
            Ok(Some(status)) => format!("ended with {status}"),
            _ => "fell silent".to_owned(),
        };
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let words = if last.is_empty() { String::new() } else { format!(": {}", last.join(" | ")) };
        format!("{} {how}{words}", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A worker of a group.
pub(crate) struct Worker {
    // Its end of the pipe first: a worker ends when that closes.
    stdin: Option<ChildStdin>,
    process: Process,
    answers: Receiver<String>,
}

impl Worker {
    /// Starts a worker; its first answer says that its end is open.
    pub(crate) fn start(name: String, dir: &Path, command: &Command) -> Result<Self> {
        let mut process = Process::start(name, dir, command, Stdio::piped(), Stdio::piped())?;
        let stdin = process.child.stdin.take();
        let stdout = process.child.stdout.take().context("stdout was asked for as a pipe")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { stdin, process, answers })
    }

    /// Gives an order.
    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        let mut line = serde_json::to_vec(&order).context("failed to encode an order")?;
        line.push(b'\n');
        let given = self.stdin.as_mut().context("its input is closed")?.write_all(&line);
        given.map_err(|_| anyhow::anyhow!(self.obituary()))
    }

    /// Waits a moment for an answer.
    ///
    /// # Errors
    ///
    /// If it says that something went wrong, or has died; or if somebody interrupts.
    pub(crate) fn poll(&mut self) -> Result<Option<Answer>> {
        interrupt::check()?;
        let line = match self.answers.recv_timeout(TICK) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!(self.obituary()),
        };
        let answer: Answer =
            serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.process.name))?;
        match &answer.error {
            Some(error) => bail!("{}: {error}", self.process.name),
            None => Ok(Some(answer)),
        }
    }

    /// An error if it has died.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.process.child.try_wait() {
            Ok(None) => Ok(()),
            _ => bail!(self.obituary()),
        }
    }

    /// Its name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.process.name
    }

    fn obituary(&mut self) -> String {
        // Its pipes close a moment before it has ended.
        let _ = self.process.wait();
        self.process.obituary()
    }

    /// Lets it end.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.stdin = None;
        self.process.wait()
    }
}
