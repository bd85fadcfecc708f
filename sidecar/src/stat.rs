//! `stat`: what a ring says about itself, as a table or as JSON.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use framebuffer::http::Endpoint;
use framebuffer::{Counters, Key, Stats};
use framebuffer_contract::Quantity;
use serde::{Deserialize, Serialize};

use crate::cli::{RingArgs, StatArgs};

/// How long a sidecar may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Prints the figures.
///
/// # Errors
///
/// If there is no key to be had or no such ring.
pub fn main(args: &StatArgs) -> anyhow::Result<ExitCode> {
    let key = find_key(&args.ring)?;
    let stats = framebuffer::stat(&args.ring.dir, &key).context("failed to look at the ring")?;
    let report = Report::from(stats);
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { Table::new(&report)?.to_string() };
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")?;
    Ok(ExitCode::SUCCESS)
}

/// The key that is given, or else the one that the sidecar at `--url` says.
///
/// # Errors
///
/// If the given key is not one, or the sidecar does not answer with one.
pub fn find_key(args: &RingArgs) -> anyhow::Result<Key> {
    if let Some(key) = &args.key {
        return key.check();
    }
    let url = args.url();
    ask_key(url).with_context(|| {
        format!("no --key (FRAMEBUFFER_KEY) is given, and the sidecar at {url} (--url) does not say one")
    })
}

fn ask_key(url: &str) -> anyhow::Result<Key> {
    #[derive(Deserialize)]
    struct Answer {
        key: String,
    }
    let response = url.parse::<Endpoint>()?.get("/get_key", DEADLINE)?;
    if response.status != 200 {
        bail!("it answers with status {}", response.status);
    }
    // Neither error repeats the answer, which may hold a key.
    let Ok(Answer { key }) = serde_json::from_slice(&response.body) else { bail!("its answer holds no key") };
    Ok(Key::new(key)?)
}

/// The figures in the words of the metrics.
#[derive(Debug, Serialize)]
struct Report {
    size_bytes: u64,
    capacity_bytes: u64,
    huge_pages_bytes: u64,
    head_bytes: u64,
    laps: u64,
    participants: usize,
    participants_limit: usize,
    pins: usize,
    created_timestamp_seconds: f64,
    allocations: u64,
    allocated_bytes: u64,
    hops: u64,
    exhausted: u64,
    frames_written: u64,
    written_bytes: u64,
    frames_read: u64,
    read_bytes: u64,
    views: u64,
    timeouts: Timeouts,
    participants_reaped: u64,
}

#[derive(Debug, Serialize)]
struct Timeouts {
    overwritten: u64,
    not_written: u64,
    mismatch: u64,
}

impl From<Stats> for Report {
    fn from(stats: Stats) -> Self {
        let Stats { size, capacity, head, laps, participants, max_participants, pins, huge_pages, created, counters } =
            stats;
        let Counters {
            allocations,
            allocated_bytes,
            hops,
            exhausted,
            frames_written,
            bytes_written,
            frames_read,
            bytes_read,
            views,
            timeouts_overwritten,
            timeouts_not_written,
            timeouts_mismatch,
            reaped,
        } = counters;
        Self {
            size_bytes: size,
            capacity_bytes: capacity,
            huge_pages_bytes: huge_pages,
            head_bytes: head,
            laps,
            participants,
            participants_limit: max_participants,
            pins,
            created_timestamp_seconds: created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            allocations,
            allocated_bytes,
            hops,
            exhausted,
            frames_written,
            written_bytes: bytes_written,
            frames_read,
            read_bytes: bytes_read,
            views,
            timeouts: Timeouts {
                overwritten: timeouts_overwritten,
                not_written: timeouts_not_written,
                mismatch: timeouts_mismatch,
            },
            participants_reaped: reaped,
        }
    }
}

/// Lines of a name and what belongs to it.
struct Table(String);

impl Table {
    fn new(report: &Report) -> Result<Self, fmt::Error> {
        let mut text = String::new();
        let mut line = |name: &str, value: fmt::Arguments<'_>| writeln!(text, "{name:<13}{value}");
        let bytes = |bytes: u64| Quantity::from(bytes);
        let r = report;
        let age = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(r.created_timestamp_seconds);
        let age = age.elapsed().unwrap_or_default().as_secs();
        line("size", format_args!("{} ({} bytes)", bytes(r.size_bytes), r.size_bytes))?;
        line("capacity", format_args!("{} ({} bytes, with headers)", bytes(r.capacity_bytes), r.capacity_bytes))?;
        line("huge pages", format_args!("{} of it", bytes(r.huge_pages_bytes)))?;
        line("age", format_args!("{age} s"))?;
        line("head", format_args!("{} (lap {})", r.head_bytes, r.laps))?;
        line("participants", format_args!("{} of {}", r.participants, r.participants_limit))?;
        line("reaped", format_args!("{}", r.participants_reaped))?;
        line("pins", format_args!("{}", r.pins))?;
        line("allocated", format_args!("{} frames, {}", r.allocations, bytes(r.allocated_bytes)))?;
        line("written", format_args!("{} frames, {}", r.frames_written, bytes(r.written_bytes)))?;
        line("read", format_args!("{} frames, {}", r.frames_read, bytes(r.read_bytes)))?;
        line("viewed", format_args!("{} frames", r.views))?;
        let Timeouts { overwritten, not_written, mismatch } = r.timeouts;
        line("timeouts", format_args!("{overwritten} overwritten, {not_written} not written, {mismatch} mismatch"))?;
        line("hops", format_args!("{}", r.hops))?;
        line("exhausted", format_args!("{}", r.exhausted))?;
        Ok(Self(text))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
