//! [`Watched`]: the output of a command, which is ended with all that it has started once it is silent for too long.
//!
//! The processes are found by their parents and by a variable in their environment: who has lost its parent still has
//! the variable, and who has cleared its environment still has a parent. They are in the process group of this program,
//! so that Ctrl-C in a terminal reaches all of them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::report::time;

/// The variable by which the processes of a command are found.
const MARK: &str = "FRAMEBUFFER_XTASK_COMMAND";
/// How often the command is looked at.
const TICK: Duration = Duration::from_millis(20);
/// The time between SIGKILL and giving up.
const UNTIL_KILLED: Duration = Duration::from_secs(10);

/// How long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The longest silence on stdout.
    pub(super) silence: Duration,
    /// The longest silence of what keeps stdout open once the command itself has ended.
    pub(super) left_behind: Duration,
    /// The time between SIGTERM and SIGKILL.
    pub(super) grace: Duration,
}

impl Bounds {
    /// Those of tests. A cold build says nothing on stdout, and takes up to 12 minutes on two slow cores.
    pub(super) const DEFAULT: Self =
        Self { silence: Duration::from_mins(25), left_behind: Duration::from_secs(10), grace: Duration::from_secs(5) };
}

/// A command that is watched while its output is read.
pub(super) struct Watched {
    child: Child,
    /// `None` from its end on.
    stdout: Option<ChildStdout>,
    name: String,
    mark: String,
    bounds: Bounds,
    exited: Option<(Instant, ExitStatus)>,
    was_ended: bool,
}

impl Watched {
    /// Starts `command`, called `name` in messages.
    pub(super) fn start(command: &mut Command, name: String, bounds: Bounds) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mark = format!("{MARK}={}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (_, value) = mark.split_once('=').expect("it was just put there");
        let mut child = command.env(MARK, value).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take();
        Ok(Self { child, stdout, name, mark, bounds, exited: None, was_ended: false })
    }

    /// Waits for the command's end, and says whether it succeeded. One that had to be ended has not.
    pub(super) fn wait(&mut self) -> io::Result<bool> {
        self.stdout = None;
        let begun = Instant::now();
        loop {
            let status = self.status()?;
            if self.was_ended {
                return Ok(false);
            }
            if let Some(status) = status {
                return Ok(status.success());
            }
            if begun.elapsed() >= self.bounds.silence {
                self.end("has printed nothing since it closed its stdout", self.bounds.silence);
            }
            thread::sleep(TICK);
        }
    }

    fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait()?.map(|status| (Instant::now(), status));
        }
        Ok(self.exited.map(|(_, status)| status))
    }

    /// Ends all processes of the command, if it is silent for too long.
    fn end_if_silent(&mut self, since: Instant) -> io::Result<()> {
        let Bounds { silence, left_behind, .. } = self.bounds;
        self.status()?;
        match self.exited {
            None if since.elapsed() >= silence => self.end("has printed nothing", silence),
            Some((at, _)) if since.max(at).elapsed() >= left_behind => {
                self.end("has ended, but not what it started, which has kept its stdout open", left_behind);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, what: &str, bound: Duration) {
        self.was_ended = true;
        eprintln!("error: {} {what} for {}; it is ended, with all its processes:", self.name, time(bound));
        let begun = Instant::now();
        let mut found = Processes::new();
        while begun.elapsed() < self.bounds.grace + UNTIL_KILLED {
            let running = running();
            found.retain(|id, process| running.get(id).is_some_and(|now| now.started == process.started));
            for (id, process) in self.further(running, &found) {
                eprintln!("  {id} {}", described(id));
                found.insert(id, process);
                send(Signal::SIGTERM, id);
            }
            if found.is_empty() {
                return;
            }
            if begun.elapsed() >= self.bounds.grace {
                for id in found.keys() {
                    send(Signal::SIGKILL, *id);
                }
            }
            thread::sleep(TICK);
        }
        eprintln!("error: of these, {:?} cannot be ended", found.keys());
    }

    /// Those of the running processes that are of this command, without those that were found before.
    fn further(&self, running: Processes, before: &Processes) -> Processes {
        let (mut further, mut others): (Processes, Processes) = running
            .into_iter()
            .filter(|(id, _)| !before.contains_key(id))
            .partition(|(id, _)| *id == self.child.id() || has_in_environment(*id, &self.mark));
        loop {
            let is_child = |process: &Process| [before, &further].iter().any(|all| all.contains_key(&process.parent));
            let (children, rest): (Processes, Processes) = others.into_iter().partition(|(_, other)| is_child(other));
            if children.is_empty() {
                return further;
            }
            further.extend(children);
            others = rest;
        }
    }
}

impl Read for Watched {
    /// At the end once all processes have closed stdout, or were ended.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let since = Instant::now();
        while let Some(stdout) = &mut self.stdout {
            let tick = PollTimeout::try_from(TICK).expect("some milliseconds");
            match poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)], tick) {
                Ok(0) => self.end_if_silent(since)?,
                Ok(_) => return stdout.read(buffer),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.was_ended {
                self.stdout = None;
            }
        }
        Ok(0)
    }
}

/// A process, as `/proc` shows it.
#[derive(Debug, Clone, Copy)]
struct Process {
    parent: u32,
    /// When it was started: tells it apart from another one that has the same id later.
    started: u64,
}

/// Processes by their ids.
type Processes = BTreeMap<u32, Process>;

/// All processes of this machine that have not ended.
fn running() -> Processes {
    let Ok(folders) = fs::read_dir("/proc") else { return Processes::new() };
    folders.filter_map(|folder| running_in(&folder.ok()?.path())).collect()
}

/// The process of a folder in `/proc`. `None` if it has ended, and for other folders.
fn running_in(folder: &Path) -> Option<(u32, Process)> {
    let id = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // After the name, which may have spaces and brackets in it: state, parent, and much more.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if ["Z", "X"].contains(&fields.next()?) {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    Some((id, Process { parent, started: fields.nth(17)?.parse().ok()? }))
}

fn has_in_environment(id: u32, variable: &str) -> bool {
    let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
}

/// The command line of a process.
fn described(id: u32) -> String {
    let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
}

fn send(signal: Signal, id: u32) {
    // It may have ended, or belong to another user.
    let _ = kill(Pid::from_raw(id.cast_signed()), signal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::counts::{Counts, run_within};

    const SHORT: Bounds = Bounds {
        silence: Duration::from_secs(2),
        left_behind: Duration::from_millis(200),
        grace: Duration::from_millis(200),
    };

    /// Runs a script, and says what was counted and printed, and whether any of its processes is left.
    fn run_script(script: &str) -> (Counts, String) {
        // All processes of this script have it in their environment, also where it is cleared otherwise.
        let mark = format!("SCRIPT={script}");
        let mut printed = Vec::new();
        let mut command = Command::new("sh");
        let counts = run_within(command.args(["-c", script]).env("SCRIPT", script), SHORT, &mut printed).unwrap();
        let left: Vec<_> = running().into_keys().filter(|id| has_in_environment(*id, &mark)).map(described).collect();
        assert_eq!(left, Vec::<String>::new());
        (counts, String::from_utf8(printed).unwrap())
    }

    #[test]
    fn a_command_that_is_silent_for_too_long_is_ended_and_has_a_failed_test() {
        assert_eq!(run_script("echo begun; sleep 60; echo done"), (Counts::FAILED, "begun\n".into()));
    }

    #[test]
    fn a_command_that_prints_now_and_then_may_take_longer() {
        let (counts, printed) = run_script("for turn in 1 2 3 4 5 6 7 8 9; do echo turn; sleep 0.3; done");
        assert_eq!((counts, printed.lines().count()), (Counts::PASSED, 9));
    }

    #[test]
    fn whoever_ignores_the_request_to_end_is_killed() {
        let script = "trap '' TERM; echo begun; sh -c 'sleep 60; sleep 60'; sleep 60";
        assert_eq!(run_script(script), (Counts::FAILED, "begun\n".into()));
    }

    #[test]
    fn a_command_that_ends_well_when_it_is_ended_has_a_failed_test_nevertheless() {
        assert_eq!(run_script("trap 'kill $!; exit 0' TERM; sleep 60 & wait").0, Counts::FAILED);
    }

    #[test]
    fn a_command_that_closes_its_stdout_and_goes_on_is_ended() {
        assert_eq!(run_script("echo begun; exec >&-; sleep 60"), (Counts::FAILED, "begun\n".into()));
    }

    #[test]
    fn what_is_left_behind_with_the_stdout_of_its_parent_is_ended() {
        // Without a parent it is known by the variable, without the variable by its parent.
        for left in ["sleep 60", "env -i \"SCRIPT=$SCRIPT\" sleep 60"] {
            let script = format!("(sh -c '{left}; true' &); echo done");
            assert_eq!(run_script(&script), (Counts::FAILED, "done\n".into()));
        }
    }
}
