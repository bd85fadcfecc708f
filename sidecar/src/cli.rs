//! The command line: commands, flags, and the `FRAMEBUFFER_*` variables behind them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use framebuffer::{Prefault, Window};
use framebuffer_contract::{Quantity, defaults, variables};
use tracing::level_filters::LevelFilter;

use crate::secret::SecretKey;

/// Owns a FrameBuffer ring in shared memory and serves its key and allocations over HTTP on loopback.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the ring and serve it until SIGINT or SIGTERM.
    Serve(ServeArgs),
    /// Show a ring's size, counters and participants.
    Stat(StatArgs),
    /// Show a ring's traffic and that of its channels, once per interval.
    Top(TopArgs),
    /// Show a ring's channels, and who holds up their publishers.
    Channels(ChannelsArgs),
    /// Show the frames that are in a ring now, oldest first.
    Ls(LsArgs),
    /// Check a ring's requirements and advise on each that is not met. Exits with 1 if a check fails.
    Doctor(DoctorArgs),
    /// Ask a sidecar whether it is ready: exits with 0 if it is, otherwise with 1. For probes without a shell.
    Healthcheck(HealthcheckArgs),
}

/// `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Payload that the ring keeps, in bytes, in Kubernetes' notation: 500Mi, 1.5Gi, 4G.
    #[arg(long, env = variables::SIZE)]
    pub size: Quantity,
    /// The ring's key, 1 to 200 of A-Z a-z 0-9 . _ -; random by default. Prefer the variable: every user of the machine
    /// can see the arguments.
    #[arg(long, env = variables::KEY, hide_env_values = true)]
    pub key: Option<SecretKey>,
    /// Adopt an existing ring at the start and leave it in place at the end.
    #[arg(long, env = variables::KEEP, value_parser = BoolishValueParser::new())]
    pub keep: bool,
    /// Folder of the ring's file, on a tmpfs.
    #[arg(long, env = variables::DIR, default_value = defaults::DIR)]
    pub dir: PathBuf,
    /// Permissions of the ring's file and of the Unix socket, octal. 0666 admits other users.
    #[arg(long, env = variables::MODE, default_value = "0600", value_parser = parse_mode)]
    pub mode: u32,
    /// Address of the API: loopback only, since the API hands out the key. Port 0 takes a free port.
    #[arg(long, env = variables::LISTEN, default_value = defaults::LISTEN, value_parser = parse_loopback)]
    pub listen: SocketAddr,
    /// Path of a Unix socket that serves the API as well.
    #[arg(long, env = variables::SOCKET)]
    pub socket: Option<PathBuf>,
    /// Address of /healthz, /readyz and /metrics. `[::]` takes IPv4 too, and where there is no IPv6 only that.
    #[arg(long, env = variables::ADMIN, default_value = defaults::ADMIN)]
    pub admin: SocketAddr,
    /// Lowest level to log.
    #[arg(long, env = variables::LOG_LEVEL, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// Format of the log, on standard error.
    #[arg(long, env = variables::LOG_FORMAT, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// When to touch the ring's pages: on first use, in the background, or before the ring is ready.
    #[arg(long, env = variables::PREFAULT, value_enum, default_value_t = PrefaultMode::Background)]
    pub prefault: PrefaultMode,
    /// How much of the ring is in use while nobody holds frames: `whole`, `auto` (what stays in the last cache), or
    /// bytes as for --size.
    #[arg(long, env = variables::WINDOW, value_name = "WINDOW", value_parser = parse_window, default_value = "whole")]
    pub window: Window,
}

/// `stat`.
#[derive(Debug, Args)]
pub struct StatArgs {
    /// The ring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The ring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// Seconds between lines.
    #[arg(long, value_name = "SECONDS", value_parser = parse_interval, default_value = "1")]
    pub interval: Duration,
    /// Intervals to print; without it, print until a signal.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// `channels`.
#[derive(Debug, Args)]
pub struct ChannelsArgs {
    /// The ring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// `ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// The ring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// Show only the frames of this channel.
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// Show only the last so many.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub last: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The ring.
    #[command(flatten)]
    pub ring: RingArgs,
    /// Check that there is room for a ring of this size.
    #[arg(long, env = variables::SIZE)]
    pub size: Option<Quantity>,
    /// Remove rings of killed servers that nobody will ask for: with random keys, not kept, without a living client.
    #[arg(long)]
    pub clean: bool,
}

/// A ring's folder, and its key or the sidecar that knows it.
#[derive(Debug, Args)]
pub struct RingArgs {
    /// The ring's key; without it, ask the sidecar at --url.
    #[arg(long, env = variables::KEY, hide_env_values = true)]
    pub key: Option<SecretKey>,
    /// Folder of the ring's file.
    #[arg(long, env = variables::DIR, default_value = defaults::DIR)]
    pub dir: PathBuf,
    /// A sidecar's API: `http://127.0.0.1:7570` (the default) or `unix:/path/to.sock`.
    #[arg(long, env = variables::URL)]
    pub url: Option<String>,
}

impl RingArgs {
    /// The API's URL, given or default.
    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(defaults::URL)
    }
}

/// `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// The sidecar's admin address; `0.0.0.0` and `[::]` stand for this machine.
    #[arg(long, env = variables::ADMIN, default_value = defaults::ADMIN)]
    pub admin: SocketAddr,
    /// Ask again until it is ready, for at most this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u16,
}

/// A log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "clap would print what the names say")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// A log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// When to touch the ring's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrefaultMode {
    /// On first use.
    Off,
    /// In the background, while the ring is already in use.
    Background,
    /// Before the ring is ready.
    Wait,
}

impl From<PrefaultMode> for Prefault {
    fn from(mode: PrefaultMode) -> Self {
        match mode {
            PrefaultMode::Off => Self::Off,
            PrefaultMode::Background => Self::Background,
            PrefaultMode::Wait => Self::Wait,
        }
    }
}

fn parse_window(text: &str) -> Result<Window, String> {
    match text {
        "whole" => Ok(Window::Whole),
        "auto" => Ok(Window::Auto),
        bytes => match bytes.parse::<Quantity>() {
            Ok(bytes) => Ok(Window::Bytes(bytes.bytes())),
            Err(error) => Err(format!("expected whole, auto, or a size: {error}")),
        },
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).map_err(|_| "permissions are octal digits, as in 0600".to_owned())?;
    if mode > 0o777 {
        return Err(format!("{mode:#o} is larger than the limit of 0o777"));
    }
    if mode & 0o600 != 0o600 {
        return Err(format!("{mode:#o} locks the owner out, who has to read and write: at least 0600"));
    }
    Ok(mode)
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "an interval is a number of seconds, as 1 or 0.5")?;
    // Shorter ones measure the timer, and nobody waits for longer ones.
    if !(0.1..=3600.0).contains(&seconds) {
        return Err(format!("{seconds} s is outside the limits of 0.1 s and 3600 s"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = text.parse().map_err(|_| "an address is written as 127.0.0.1:7570 or [::1]:7570")?;
    if !addr.ip().to_canonical().is_loopback() {
        return Err(format!(
            "the API hands out the ring's key, so it listens on loopback only (127.0.0.1 or [::1]), not on {}",
            addr.ip()
        ));
    }
    Ok(addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> Result<ServeArgs, String> {
        let line = [&["framebuffer-sidecar", "serve", "--size", "1Mi"], args].concat();
        match Cli::try_parse_from(line).map_err(|error| error.to_string())?.command {
            Command::Serve(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_mode_is_octal_and_never_locks_the_owner_out() {
        for (text, mode) in [("0600", 0o600), ("666", 0o666), ("0o660", 0o660)] {
            assert_eq!(serve(&["--mode", text]).unwrap().mode, mode);
        }
        assert!(serve(&["--mode", "0800"]).unwrap_err().contains("octal digits"));
        assert!(serve(&["--mode", "1777"]).unwrap_err().contains("limit of 0o777"));
        assert!(serve(&["--mode", "0466"]).unwrap_err().contains("locks the owner out"));
    }

    #[test]
    fn the_api_listens_on_loopback_only() {
        for addr in ["127.0.0.1:0", "127.8.8.8:7570", "[::1]:7570", "[::ffff:127.0.0.1]:1"] {
            serve(&["--listen", addr]).unwrap();
        }
        for addr in ["0.0.0.0:7570", "[::]:7570", "192.0.2.1:7570"] {
            assert!(serve(&["--listen", addr]).unwrap_err().contains("loopback only"), "{addr}");
        }
        assert!(serve(&["--listen", "localhost"]).unwrap_err().contains("127.0.0.1:7570"));
    }

    #[test]
    fn no_error_and_no_debug_output_repeats_the_key() {
        let args = serve(&["--key", "hush"]).unwrap();
        assert!(!format!("{args:?}").contains("hush"));
        let error = serve(&["--key", "hush", "--nonsense"]).unwrap_err();
        assert!(!error.contains("hush"), "{error}");
    }

    #[test]
    fn a_bad_size_is_refused_with_its_reason() {
        let error = Cli::try_parse_from(["framebuffer-sidecar", "serve", "--size", "500MB"]).unwrap_err().to_string();
        assert!(error.contains("`MB` is not a unit"), "{error}");
    }
}
