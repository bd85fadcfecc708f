//! How a process waits for another one: [`Waiting`] and [`Patience`].

use std::hint::spin_loop;
use std::thread::{available_parallelism, yield_now};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
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

/// One wait: spins or not, and gives up in the end.
#[derive(Debug)]
pub(crate) struct Patience {
    /// After how many turns the processor is offered to others.
    burst: u32,
    turns: u32,
    deadline: Option<Instant>,
}

impl Patience {
    /// A wait of one out of `processes` that wait for each other. If there are more of them than processors, one that spins
    /// would keep the processor from the one that it waits for, so it yields often; else hardly ever.
    pub(crate) fn new(waiting: Waiting, processes: usize) -> Self {
        let crowded = available_parallelism().is_ok_and(|processors| processes > processors.get());
        let burst = match waiting {
            Waiting::Block => 1,
            Waiting::Spin if crowded => 64,
            Waiting::Spin => 1 << 14,
        };
        Self { burst, turns: 0, deadline: None }
    }

    /// Passes one turn.
    ///
    /// # Errors
    ///
    /// When [`PATIENCE`] is at its end; `what` says what was waited for.
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
