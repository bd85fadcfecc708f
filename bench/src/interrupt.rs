//! Ctrl-C and its kin: a run then ends in order, leaving nothing behind.

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// From now on, SIGINT, SIGTERM and SIGHUP are noted. To be called before any thread is started.
pub(crate) fn watch() -> Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    // Blocked in this thread and so in all that it starts: they stay pending until the wait below takes them.
    set.thread_block().context("failed to block signals")?;
    thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            SIGNAL.store(signal as i32, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// The signal that came, if one did.
pub(crate) fn signal() -> Option<Signal> {
    Signal::try_from(SIGNAL.load(Ordering::Relaxed)).ok()
}

/// An error if a signal has come.
pub(crate) fn check() -> Result<()> {
    match signal() {
        Some(signal) => bail!("interrupted by {signal}"),
        None => Ok(()),
    }
}
