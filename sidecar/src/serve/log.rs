//! Where events go: to standard error, as lines for people or as JSON.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;

use crate::cli::LogFormat;

/// Starts logging. Once per process.
pub(super) fn init(level: LevelFilter, format: LogFormat) {
    // The subscriber would report a closed standard error to standard error, and panic about that.
    let log = tracing_subscriber::fmt().log_internal_errors(false).with_max_level(level).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
