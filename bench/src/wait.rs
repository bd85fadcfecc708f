//! How a process waits for another one: [`Waiting`] and [`Patience`].

use std::hint::spin_loop;
use std::sync::OnceLock;
use std::thread::{available_parallelism, yield_now};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long a worker waits for one frame, or for one acknowledgement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How the processes of a group wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Waiting {
    /// By looking again and again.
    Spin,
    /// In the kernel.
    Block,
}

/// The number of processors for the benchmark. Asked for once: that takes longer than moving a small frame, and the
/// answer changes when a process is bound to one of them.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| available_parallelism().map_or(1, Into::into))
}

/// Binds a process that spins to a processor of its own, if there is one for each of the `processes` that wait for each
/// other: two of them on one processor would measure the scheduler. Processes that block are left to the scheduler.
///
/// # Errors
///
/// If the kernel refuses.
pub(crate) fn pin(waiting: Waiting, processes: usize, which: usize) -> Result<()> {
    // Before it is bound to one.
    processors();
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).context("failed to learn the allowed processors")?;
    let processors: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
    if waiting == Waiting::Block || processes > processors.len() {
        return Ok(());
    }
    let mut own = CpuSet::new();
    own.set(processors[which]).context("a processor out of range")?;
    sched_setaffinity(this, &own).with_context(|| format!("failed to move to processor {}", processors[which]))
}

/// One wait: spins or not, and gives up in the end.
#[derive(Debug)]
pub(crate) struct Patience {
    /// After how many turns the processor is offered to others.
    burst: u32,
    turns: u32,
    deadline: Option<Instant>,
}

impl Patience {
    /// A wait of one out of `processes` that wait for each other. If they outnumber the processors, one that spins
    /// would keep the processor from the one that it waits for, so it yields often; otherwise hardly ever.
    pub(crate) fn new(waiting: Waiting, processes: usize) -> Self {
        let crowded = processes > processors();
        let burst = match waiting {
            Waiting::Block => 1,
            Waiting::Spin if crowded => 64,
            Waiting::Spin => 1 << 10,
        };
        Self { burst, turns: 0, deadline: None }
    }

    /// Passes one turn.
    ///
    /// # Errors
    ///
    /// When [`PATIENCE`] is exhausted; `what` names the event that did not come.
    pub(crate) fn pass(&mut self, what: impl FnOnce() -> String) -> Result<()> {
        self.turns += 1;
        if self.turns < self.burst {
            spin_loop();
            return Ok(());
        }
        self.turns = 0;
        yield_now();
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + PATIENCE);
        if now > deadline {
            bail!("waited {} s {}", PATIENCE.as_secs(), what());
        }
        Ok(())
    }
}
