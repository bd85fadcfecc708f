//! Signals that ask a program to end, as values instead of a sudden end. All programs of this repository catch them
//! here.
//!
//! - `Signals` (feature `tokio`): programs with a runtime wait for the next one.
//! - `on_signals` (feature `thread`): other programs have a function called for each.
//!
//! What a program does then is its own affair: drain, stop a loop, end its children.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use nix::sys::signal;

    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_system() {
        for signal in Signal::ALL {
            let system = signal::Signal::try_from(i32::from(signal.number())).unwrap();
            assert_eq!(signal.to_string(), system.as_str());
        }
    }
}
