//! [`Signals`]: SIGINT, SIGTERM and SIGHUP (a terminal that is closed), caught and waited for.

use std::fmt;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Interrupt,
    Terminate,
    HangUp,
}

impl Signal {
    /// What a shell reports of a process that this signal has ended: 128 and its number.
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::HangUp => 129,
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        })
    }
}

/// From its creation on, these signals no longer end the process; each is kept until it is asked for.
pub(super) struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hang_up: Stream,
}

impl Signals {
    pub(super) fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("failed to catch signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
        })
    }

    /// The next one. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => Signal::HangUp,
        }
    }
}
