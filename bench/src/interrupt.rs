//! Ctrl-C and its kin: a run then ends in order, leaving nothing behind.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use framebuffer_signals::{Signal, on_signals};

static SIGNAL: OnceLock<Signal> = OnceLock::new();

/// From now on, SIGINT, SIGTERM and SIGHUP are noted.
pub(crate) fn watch() -> Result<()> {
    // Those after the first change nothing: the run ends already.
    on_signals(&Signal::ALL, |signal| _ = SIGNAL.set(signal)).context("failed to catch signals")
}

/// The signal that came, if one did.
pub(crate) fn signal() -> Option<Signal> {
    SIGNAL.get().copied()
}

/// An error if a signal has come.
pub(crate) fn check() -> Result<()> {
    match signal() {
        Some(signal) => bail!("interrupted by {signal}"),
        None => Ok(()),
    }
}
