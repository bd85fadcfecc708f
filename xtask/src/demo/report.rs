//! [`Report`]: the output of the writer and the reader, for people: live progress, a summary, lost frames.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Side;

/// Their output so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    writer: Option<String>,
    reader: Option<String>,
    /// The terminal shows a line of progress, without a line end.
    live: bool,
}

/// The writer's result, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Written {
    frames: u64,
}

/// The reader's result, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Read {
    frames: u64,
    bytes: u64,
    seconds: f64,
    frames_per_second: f64,
    gigabytes_per_second: f64,
    latency_us: Latency,
    /// Frames that were overwritten before the reader came to them.
    lost: u64,
    /// Frames with other bytes than were sent.
    damaged: u64,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Report {
    /// Shows a line of progress; in a terminal it replaces the one before.
    pub(super) fn progress(&mut self, line: &str) {
        // The reader's log is not progress; if the demo fails, the error shows it.
        if line.is_empty() || line.starts_with("frame-reader: ") {
            return;
        }
        let mut stdout = std::io::stdout();
        let (before, after) = if stdout.is_terminal() { ("\r\x1b[K", "") } else { ("", "\n") };
        self.live = after.is_empty();
        // Whoever closes our output wants no progress.
        let _ = write!(stdout, "{before}  {line}{after}").and_then(|()| stdout.flush());
    }

    /// Ends the line of progress, so that other text begins on a line of its own.
    pub(super) fn end_progress(&mut self) {
        if std::mem::take(&mut self.live) {
            println!();
        }
    }

    /// Takes the whole output of one side.
    pub(super) fn result(&mut self, side: Side, text: String) {
        match side {
            Side::Writer => self.writer = Some(text),
            Side::Reader => self.reader = Some(text),
        }
    }

    /// Whether both sides have ended their output.
    pub(super) fn is_complete(&self) -> bool {
        self.writer.is_some() && self.reader.is_some()
    }

    /// Gives the summary to `print`. An error if not every frame arrived.
    pub(super) fn conclude(&self, print: impl FnOnce(&str)) -> Result<()> {
        let written: Written = parse(self.writer.as_deref(), "writer")?;
        let read: Read = parse(self.reader.as_deref(), "reader")?;
        print(&summary(&written, &read)?);
        if read.frames != written.frames {
            let (frames, Read { lost, damaged, .. }) = (written.frames, &read);
            let missing = frames.saturating_sub(read.frames);
            bail!("{missing} of {frames} frames did not arrive intact ({lost} lost, {damaged} damaged)");
        }
        if read.frames == 0 {
            bail!("the video has no frames");
        }
        Ok(())
    }
}

fn parse<'a, T: Deserialize<'a>>(text: Option<&'a str>, side: &str) -> Result<T> {
    let text = text.unwrap_or_default();
    serde_json::from_str(text).with_context(|| format!("failed to parse what the {side} printed: {:?}", text.trim()))
}

fn summary(written: &Written, read: &Read) -> Result<String> {
    let Read { frames, bytes, seconds, frames_per_second, gigabytes_per_second, latency_us, lost, .. } = read;
    let Latency { p50, p99, max } = latency_us;
    #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are more than any demo moves")]
    let gigabytes = *bytes as f64 / 1e9;
    let verdict = if *frames == written.frames { "every one intact" } else { "NOT ALL" };
    let mut text = String::new();
    writeln!(text, "frames     {frames} of {} arrived, {verdict} (checked by checksum)", written.frames)?;
    writeln!(text, "moved      {gigabytes:.2} GB in {seconds:.2} s")?;
    writeln!(text, "speed      {gigabytes_per_second:.2} GB/s, {frames_per_second:.0} frames/s")?;
    writeln!(text, "latency    p50 {p50:.0} us, p99 {p99:.0} us, max {max:.0} us (sent until read and verified)")?;
    writeln!(text, "lost       {}", if *lost == 0 { "none".to_owned() } else { lost.to_string() })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(frames: u64, lost: u64) -> Report {
        let reader = format!(
            r#"{{"frames":{frames},"bytes":6220800000,"seconds":2.5,"frames_per_second":400.0,
                "gigabytes_per_second":2.488,"latency_us":{{"p50":900.0,"p99":1800.5,"max":5000.0}},
                "lost":{lost},"damaged":0,"refused":0,"writers":1}}"#
        );
        Report { writer: Some(r#"{"frames":1000,"waits":0}"#.into()), reader: Some(reader), live: false }
    }

    #[test]
    fn the_summary_has_frames_bytes_and_speed() {
        let mut text = String::new();
        report(1000, 0).conclude(|summary| text = summary.into()).unwrap();
        for part in ["1000 of 1000 arrived, every one intact", "6.22 GB in 2.50 s", "2.49 GB/s, 400 frames/s", "none"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn a_lost_frame_is_an_error() {
        let error = report(997, 3).conclude(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "3 of 1000 frames did not arrive intact (3 lost, 0 damaged)");
    }

    #[test]
    fn a_video_without_frames_is_an_error() {
        let reader = report(0, 0).reader;
        let report = Report { writer: Some(r#"{"frames":0}"#.into()), reader, live: false };
        assert_eq!(report.conclude(|_| ()).unwrap_err().to_string(), "the video has no frames");
    }

    #[test]
    fn a_result_that_cannot_be_parsed_is_shown() {
        let report = Report { writer: Some("oops\n".into()), reader: Some(String::new()), live: false };
        let error = report.conclude(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), r#"failed to parse what the writer printed: "oops""#);
    }
}
