//! Signals that ask a program to end, as values instead of a sudden end. All programs of this repository catch them
//! here.
//!
//! - `Signals` (feature `tokio`): programs with a runtime wait for the next one.
//! - `on_signals` (feature `thread`): other programs have a function called for each.
//!
//! A signal that was ignored when the program started stays ignored.
//!
//! What a program does then is its own affair: drain, stop a loop, end its children.

use std::mem::MaybeUninit;
use std::{fmt, io, ptr};

use nix::libc;

#[cfg(feature = "tokio")]
mod stream;
#[cfg(feature = "thread")]
mod thread;

#[cfg(feature = "tokio")]
pub use stream::Signals;
#[cfg(feature = "thread")]
pub use thread::on_signals;

/// A request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: an orderly end, as Kubernetes and service managers ask for it.
    Terminate,
    /// SIGHUP: the terminal is closed.
    HangUp,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::HangUp];

    /// Its number, the same on every Linux.
    pub const fn number(self) -> u8 {
        match self {
            Self::Interrupt => 2,
            Self::Terminate => 15,
            Self::HangUp => 1,
        }
    }

    /// Whether this process was started with the signal ignored, as by `nohup` or in the background of a script. It
    /// stays so: whoever started it wants it to go on.
    pub fn is_ignored(self) -> bool {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action nothing is changed; `action` is where the present one is written to.
        let result = unsafe { libc::sigaction(self.number().into(), ptr::null(), action.as_mut_ptr()) };
        // SAFETY: all its fields are numbers, for which zero is valid, or None.
        let action = unsafe { action.assume_init() };
        result == 0 && action.sa_sigaction == libc::SIG_IGN
    }

    /// The exit code by which a shell reports a process that this signal has ended: 128 and its number.
    pub const fn exit_code(self) -> u8 {
        128 + self.number()
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

/// Gives the signals their usual effect again, in this process and in the programs that it starts. For tests that send
/// them, which may themselves run in the background of a script. Call it before any signal is caught.
///
/// # Errors
///
/// The system refuses.
pub fn heed_all() -> io::Result<()> {
    for signal in Signal::ALL {
        // SAFETY: the default action runs no code of this process.
        if unsafe { libc::signal(signal.number().into(), libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Once;

    use nix::sys::signal;

    use super::*;

    /// Once for all tests of the process: the signals that another has caught already stay caught.
    pub(crate) fn heed_all_once() {
        static HEED: Once = Once::new();
        HEED.call_once(|| heed_all().unwrap());
    }

    #[test]
    fn numbers_and_names_are_those_of_the_system() {
        for signal in Signal::ALL {
            let system = signal::Signal::try_from(i32::from(signal.number())).unwrap();
            assert_eq!(signal.to_string(), system.as_str());
        }
    }
}
