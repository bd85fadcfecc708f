//! Stopping at SIGINT and SIGTERM: the first asks, the second insists.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framebuffer_signals::{Signal, on_signals};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a blocking call waits before it looks whether it should stop.
pub const TICK: Duration = Duration::from_millis(100);

/// Whether the program was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A `Stop` that SIGINT and SIGTERM set. A second signal ends the process at once, with status 130.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let flag = stop.clone();
        on_signals(&[Signal::Interrupt, Signal::Terminate], move |_| {
            if flag.is_set() {
                std::process::exit(Signal::Interrupt.exit_code().into());
            }
            flag.set();
        })?;
        Ok(stop)
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        // Relaxed: the flag guards no other memory.
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for the stop, as a signal would.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Sleeps for `duration`, or less if the program is asked to stop.
    pub fn sleep(&self, mut duration: Duration) {
        while !duration.is_zero() && !self.is_set() {
            let slice = duration.min(TICK);
            std::thread::sleep(slice);
            duration -= slice;
        }
    }

    /// Waits until `fd` has something to read (or has ended). `false`: asked to stop.
    ///
    /// # Errors
    ///
    /// Errors of `poll`, except interruptions.
    pub fn wait_readable(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let timeout = PollTimeout::from(TICK.as_millis() as u16);
        while !self.is_set() {
            match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}
