//! `top`: the traffic of a ring, one line for each interval, and below it one for each channel.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use framebuffer::{ChannelInfo, Counters, Stats};
use framebuffer_contract::Quantity;

use crate::cli::TopArgs;
use crate::stat::find_key;

/// Lines after which the heading is repeated, so that one stays on a screen.
const PAGE: usize = 20;

/// The heading of the lines that [`Rates`] prints.
const HEADING: &str =
    " written/s    bytes/s     read/s    bytes/s    views/s timeouts/s exhausted/s  pins participants";

/// Prints `--count` intervals, or intervals until a signal or a closed pipe ends it.
///
/// # Errors
///
/// There is no key, or no such ring, now or later.
pub fn main(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let key = find_key(&args.ring)?;
    let look = || -> anyhow::Result<_> {
        let dir = &args.ring.dir;
        let stats = framebuffer::stat(dir, &key).context("failed to look at the ring")?;
        let channels = framebuffer::channels(dir, &key).context("failed to look at the ring's channels")?;
        Ok((stats, channels, Instant::now()))
    };
    let (mut before, mut channels_before, mut then) = look()?;
    let mut since_heading = PAGE;
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        thread::sleep(args.interval.saturating_sub(then.elapsed()));
        let (stats, channels, now) = look()?;
        let heading = (since_heading >= PAGE).then_some(HEADING);
        let mut lines = vec![match Rates::between(&before, &stats, now - then) {
            Some(rates) => rates.to_string(),
            None => "the ring was made anew".to_owned(),
        }];
        if before.created == stats.created {
            lines.extend(channel_lines(&channels_before, &channels, now - then));
        }
        if !print(heading, &lines).context("failed to print")? {
            break;
        }
        since_heading = if heading.is_some() { 0 } else { since_heading } + lines.len();
        (before, channels_before, then) = (stats, channels, now);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints, and returns whether someone still reads.
fn print(heading: Option<&str>, lines: &[String]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let mut lines = heading.into_iter().chain(lines.iter().map(String::as_str));
    match lines.try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        printed => printed.map(|()| true),
    }
}

/// `more` in this time, as a rate per second.
fn rate(more: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(more) * 1_000_000_000 / elapsed.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// A line for each channel: what was sent over it since, and what its subscribers have missed.
fn channel_lines(before: &[ChannelInfo], after: &[ChannelInfo], elapsed: Duration) -> Vec<String> {
    let line = |now: &ChannelInfo| {
        let then = before.iter().find(|then| then.name == now.name);
        let of = |figure: fn(&ChannelInfo) -> u64| rate(figure(now).saturating_sub(then.map_or(0, figure)), elapsed);
        let (frames, bytes) = (of(|channel| channel.frames), Quantity::from(of(|channel| channel.bytes)).to_string());
        let (lost, skipped) = (of(|channel| channel.lost), of(|channel| channel.skipped));
        let behind = match now.most_unread() {
            0 => String::new(),
            unread => format!(", {unread} unread by the slowest lossless subscriber"),
        };
        format!("  {}: {frames} frames/s, {bytes} bytes/s, {lost} lost/s, {skipped} skipped/s{behind}", now.name)
    };
    after.iter().map(line).collect()
}

/// Events per second, and the current gauges.
#[derive(Debug, PartialEq)]
struct Rates {
    written: u64,
    bytes_written: u64,
    read: u64,
    bytes_read: u64,
    views: u64,
    timeouts: u64,
    exhausted: u64,
    pins: usize,
    participants: usize,
    max_participants: usize,
}

impl Rates {
    /// `None` if the two are not of the same ring.
    fn between(before: &Stats, after: &Stats, elapsed: Duration) -> Option<Self> {
        if before.created != after.created {
            return None;
        }
        let rate = |count: fn(&Counters) -> u64| {
            // Each participant has its own counters, so a sum is not of one instant and may even seem to fall.
            rate(count(&after.counters).saturating_sub(count(&before.counters)), elapsed)
        };
        Some(Self {
            written: rate(|c| c.frames_written),
            bytes_written: rate(|c| c.bytes_written),
            read: rate(|c| c.frames_read),
            bytes_read: rate(|c| c.bytes_read),
            views: rate(|c| c.views),
            timeouts: rate(|c| c.timeouts_overwritten + c.timeouts_not_written + c.timeouts_mismatch),
            exhausted: rate(|c| c.exhausted),
            pins: after.pins,
            participants: after.participants,
            max_participants: after.max_participants,
        })
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, read, views, timeouts, exhausted, pins, .. } = self;
        let bytes = |rate: u64| Quantity::from(rate).to_string();
        let (bytes_written, bytes_read) = (bytes(self.bytes_written), bytes(self.bytes_read));
        let participants = format!("{} of {}", self.participants, self.max_participants);
        write!(
            f,
            "{written:>10} {bytes_written:>10} {read:>10} {bytes_read:>10} {views:>10} {timeouts:>10} \
             {exhausted:>11} {pins:>5} {participants:>12}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn stats(frames_written: u64, created: SystemTime) -> Stats {
        let counters = Counters { frames_written, bytes_written: frames_written << 20, ..Counters::default() };
        Stats {
            size: 1 << 30,
            capacity: 1 << 30,
            head: 0,
            laps: 0,
            participants: 2,
            max_participants: 64,
            pins: 1,
            huge_pages: 0,
            created,
            counters,
        }
    }

    #[test]
    fn rates_are_per_second_and_stand_under_their_headings() {
        let made = SystemTime::UNIX_EPOCH;
        let rates = Rates::between(&stats(100, made), &stats(400, made), Duration::from_secs(2)).unwrap();
        assert_eq!((rates.written, rates.bytes_written), (150, 150 << 20));
        let line = rates.to_string();
        assert_eq!(
            line,
            "       150      150Mi          0          0          0          0           0     1      2 of 64"
        );
        assert_eq!(line.len(), HEADING.len());
    }

    #[test]
    fn a_ring_that_was_made_anew_has_no_rates() {
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!(Rates::between(&stats(100, SystemTime::UNIX_EPOCH), &stats(3, later), Duration::from_secs(1)), None);
    }
}
