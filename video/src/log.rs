//! Output of the programs: for people on standard error, for scripts on standard output.
//!
//! Unlike `eprintln!`, a line is written at once, so that lines of several processes stay whole, and nobody listening
//! is no reason to panic.

use std::fmt;
use std::io::{self, Write};

/// Says a line on standard error: `say!("frame-writer: {error}")`.
#[macro_export]
macro_rules! say {
    ($($message:tt)*) => { $crate::log::say(format_args!($($message)*)) };
}

/// Writes a line to standard error.
pub fn say(message: fmt::Arguments<'_>) {
    // If nobody takes it, there is nobody to tell.
    let _ = io::stderr().write_all(format!("{message}\n").as_bytes());
}

/// Writes a program's statistics to standard output.
///
/// # Errors
///
/// If nobody takes them.
pub fn print(statistics: &serde_json::Value) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(format!("{statistics}\n").as_bytes())?;
    stdout.flush()
}
