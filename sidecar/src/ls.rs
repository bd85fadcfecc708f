//! `ls`: the frames that are in a ring now.

use std::collections::VecDeque;
use std::fmt;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use framebuffer::FrameInfo;

use crate::cli::LsArgs;
use crate::report::FrameReport;
use crate::stat::{find_key, print};

/// Prints the frames.
///
/// # Errors
///
/// There is no key, no such ring, its head is damaged, or it has no such channel.
pub fn main(args: &LsArgs) -> anyhow::Result<ExitCode> {
    let key = find_key(&args.ring)?;
    if let Some(name) = &args.channel {
        let channels = framebuffer::channels(&args.ring.dir, &key).context("failed to look at the ring")?;
        if !channels.iter().any(|channel| channel.name == *name) {
            bail!("the ring has no channel {name:?}; `channels` lists those that there are");
        }
    }
    let frames = framebuffer::frames(&args.ring.dir, &key).context("failed to look at the ring")?;
    let is_asked = |frame: &FrameInfo| args.channel.is_none() || frame.channel == args.channel;
    let list = List::of(frames.filter(is_asked), args.last);
    let text = if args.json { list.into_json()? } else { list.to_string() };
    print(&text)
}

/// The last frames, and the number of those before them.
struct List {
    frames: VecDeque<FrameInfo>,
    older: u64,
}

impl List {
    fn of(frames: impl Iterator<Item = FrameInfo>, last: usize) -> Self {
        let mut list = Self { frames: VecDeque::new(), older: 0 };
        for frame in frames {
            list.frames.push_back(frame);
            if list.frames.len() > last {
                list.frames.pop_front();
                list.older += 1;
            }
        }
        // One that is held for longer than a lap comes where it lies.
        list.frames.make_contiguous().sort_by_key(|frame| frame.offset);
        list
    }

    fn into_json(self) -> serde_json::Result<String> {
        let frames: Vec<_> = self.frames.into_iter().map(FrameReport::from).collect();
        let list = serde_json::json!({ "frames": frames, "older_not_shown": self.older });
        Ok(serde_json::to_string_pretty(&list)? + "\n")
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "        offset       size state     in use  age           number channel, element and shape")?;
        for frame in &self.frames {
            let age = frame.committed.map(|committed| committed.elapsed().unwrap_or_default().as_secs_f64());
            let line = format!(
                "{:>14} {:>10} {:<9} {:<7} {:<10} {:>9} {}",
                frame.offset,
                frame.size,
                frame.state.as_str(),
                if frame.in_use { "yes" } else { "no" },
                age.map_or_else(|| "-".to_owned(), |age| format!("{age:.3} s")),
                frame.number.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                About(frame),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        let in_use = self.frames.iter().filter(|frame| frame.in_use).count();
        write!(f, "{} frames, {in_use} in use", self.frames.len())?;
        if self.older > 0 {
            write!(f, "; {} older ones are not shown (--last)", self.older)?;
        }
        writeln!(f)
    }
}

/// The channel of a frame, and what is said of it.
struct About<'a>(&'a FrameInfo);

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(frame) = self;
        match frame.channel.as_deref() {
            None => return f.write_str("(plain)"),
            Some("") => f.write_str("(of a channel whose name was written over)")?,
            Some(channel) => f.write_str(channel)?,
        }
        let Some(descriptor) = &frame.descriptor else { return Ok(()) };
        if !descriptor.element_type().is_unknown() {
            write!(f, " {}", descriptor.element_type())?;
        }
        if !descriptor.dimensions().is_empty() {
            write!(f, " {:?}", descriptor.dimensions())?;
        }
        if !descriptor.pixel_format().is_none() {
            write!(f, " {}", descriptor.pixel_format())?;
        }
        Ok(())
    }
}
