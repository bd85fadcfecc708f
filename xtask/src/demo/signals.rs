//! Ctrl-C and its kin as events instead of a sudden end.

use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

use super::Event;

/// From now on SIGINT, SIGTERM and SIGHUP arrive as [`Event::Interrupt`]. To be called before any thread is started.
pub(super) fn send_to(events: Sender<Event>) -> Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    // Blocked in this thread and so in all that it starts: they stay pending until the wait below takes them.
    set.thread_block().context("failed to block signals")?;
    thread::spawn(move || {
        while let Ok(signal) = set.wait() {
            if events.send(Event::Interrupt(signal)).is_err() {
                break;
            }
        }
    });
    Ok(())
}
