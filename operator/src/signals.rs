//! [`Signals`]: SIGINT and SIGTERM, caught and waited for.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From its creation on, SIGINT and SIGTERM no longer end the process; each is kept until it is asked for.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("failed to catch signals");
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for the next one; returns what a shell reports of a process that it has ended. Nothing is lost if the future
    /// is dropped.
    pub async fn next(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.interrupt.recv() => ExitCode::from(130),
            _ = self.terminate.recv() => ExitCode::from(143),
        }
    }
}
