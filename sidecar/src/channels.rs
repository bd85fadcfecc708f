//! `channels`: a ring's channels, and who holds up their publishers.

use std::fmt;
use std::process::ExitCode;

use anyhow::Context as _;
use framebuffer::{ChannelInfo, LosslessInfo};
use framebuffer_contract::Quantity;

use crate::cli::ChannelsArgs;
use crate::report::ChannelReport;
use crate::stat::{find_key, print};

/// Prints the channels.
///
/// # Errors
///
/// There is no key, or no such ring.
pub fn main(args: &ChannelsArgs) -> anyhow::Result<ExitCode> {
    let key = find_key(&args.ring)?;
    let channels = framebuffer::channels(&args.ring.dir, &key).context("failed to look at the ring")?;
    let text = if args.json {
        let channels: Vec<_> = channels.into_iter().map(ChannelReport::from).collect();
        serde_json::to_string_pretty(&serde_json::json!({ "channels": channels }))? + "\n"
    } else {
        Table(&channels).to_string()
    };
    print(&text)
}

/// A line for each channel, and below it one for each lossless subscriber that is behind.
struct Table<'a>(&'a [ChannelInfo]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels = self.0;
        if channels.is_empty() {
            return writeln!(f, "the ring has no channels");
        }
        let width = channels.iter().map(|channel| channel.name.len()).max().unwrap_or(0).max("channel".len());
        let heading = "      frames      bytes     lost  skipped publishers subscribers lossless last frame";
        writeln!(f, "{:<width$}{heading}", "channel")?;
        for channel in channels {
            let ChannelInfo { name, frames, lost, skipped, publishers, subscribers, .. } = channel;
            let bytes = Quantity::from(channel.bytes).to_string();
            let last = match channel.last_frame_age() {
                Some(age) => format!("{:.3} s ago", age.as_secs_f64()),
                None => "none yet".to_owned(),
            };
            writeln!(
                f,
                "{name:<width$}{frames:>12} {bytes:>10} {lost:>8} {skipped:>8} {publishers:>10} {subscribers:>11} \
                 {:>8} {last}",
                channel.lossless.len(),
            )?;
            for subscriber in channel.lossless.iter().filter(|subscriber| subscriber.unread > 0) {
                writeln!(f, "  {}", behind(subscriber))?;
            }
        }
        Ok(())
    }
}

/// Who holds publishers up, once they keep no more frames than that.
fn behind(subscriber: &LosslessInfo) -> String {
    let LosslessInfo { participant, process, next_number, unread, .. } = subscriber;
    let process = process.map_or_else(String::new, |process| format!(" (process {process} in its PID namespace)"));
    format!("participant {participant}{process}, lossless, has {unread} frames unread, from number {next_number} on")
}
