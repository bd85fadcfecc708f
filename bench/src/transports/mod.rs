//! The transports that are compared: one file each, two ends each.
//!
//! To add one: write its [`Sender`] and [`Receiver`] and put it into [`ALL`].

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::control::Control;
use crate::orders::Frames;
use crate::wait::Waiting;

mod channel;
mod iceoryx;
pub(crate) use iceoryx::prefix as iceoryx_prefix;
mod memcpy;
pub(crate) mod python;
mod redis;
pub(crate) mod ring;
mod tcp;
mod unix_socket;
#[cfg(feature = "zeromq")]
mod zeromq;
#[cfg(not(feature = "zeromq"))]
#[path = "zeromq_missing.rs"]
mod zeromq;

/// All transports, in the order of the table. The others are compared with the first one that copies and the first one
/// that does not.
pub(crate) const ALL: &[Transport] = &[
    ring::COPY_SPINNING,
    ring::COPY_SOCKET,
    ring::IN_PLACE_SPINNING,
    ring::IN_PLACE_SOCKET,
    channel::SPINNING,
    channel::ASLEEP,
    iceoryx::COPY,
    iceoryx::IN_PLACE,
    iceoryx::IN_PLACE_EVENT,
    memcpy::MEMCPY,
    unix_socket::STREAM,
    unix_socket::STREAM_SPINNING,
    tcp::LOOPBACK,
    zeromq::IPC,
    redis::PUBLISH,
    python::SHARED_MEMORY,
];

/// A way to move frames.
#[derive(Clone, Copy)]
pub(crate) struct Transport {
    /// Its name in arguments and figures.
    pub(crate) id: &'static str,
    /// Its name for people.
    pub(crate) name: &'static str,
    /// Whether it is FrameBuffer's.
    pub(crate) ours: bool,
    /// Whether bytes are copied, into it and out of it, or only handed over.
    pub(crate) copies: bool,
    /// Whether the reader verifies a checksum.
    pub(crate) checksum: bool,
    /// How its ends wait for each other.
    pub(crate) waiting: Waiting,
    /// Its two ends.
    pub(crate) ends: Ends,
    /// The server between them, if there is one, to be started in a group's folder.
    pub(crate) server: Option<fn(&Path) -> Command>,
    /// Its version, or why it can't run here and how to install it.
    pub(crate) available: fn() -> Result<String>,
}

/// The processes of a transport.
#[derive(Clone, Copy)]
pub(crate) enum Ends {
    /// A writer and readers.
    Processes {
        /// Opens the writer's end.
        writer: fn(&Place) -> Result<Box<dyn Sender>>,
        /// Opens a reader's end, after the writer's.
        reader: fn(&Place) -> Result<Box<dyn Receiver>>,
    },
    /// The same, in Python.
    Python,
    /// One process, which copies a payload from place to place.
    Alone {
        /// Makes the copier.
        copier: fn() -> Copier,
    },
}

/// Copies a payload to another place, at each call.
pub(crate) type Copier = Box<dyn FnMut(&[u8])>;

/// Where an end finds the others.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The group's folder.
    pub(crate) dir: PathBuf,
    /// How many readers there are.
    pub(crate) readers: usize,
    /// Which of them this is; `None` for the writer.
    pub(crate) reader: Option<usize>,
}

impl Place {
    /// A file of the group.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The writer's end.
pub(crate) trait Sender {
    /// Gets ready for frames of another size. All readers' ends are open; none is prepared yet.
    ///
    /// # Errors
    ///
    /// If it can't, or a reader is not there.
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        let _ = frames;
        Ok(())
    }

    /// Sends `payload` as frame `number` to every reader. `control` has whatever else is shared between frames.
    ///
    /// # Errors
    ///
    /// If it can't.
    fn send(&mut self, control: &Control, number: u64, payload: &[u8]) -> Result<()>;
}

/// A reader's end.
pub(crate) trait Receiver {
    /// Gets ready for frames of another size, after the writer.
    ///
    /// # Errors
    ///
    /// If it can't.
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        let _ = frames;
        Ok(())
    }

    /// Waits for frame `number` and puts it into `buffer`, if this transport copies (or frames are to be whole).
    ///
    /// # Errors
    ///
    /// If it does not come, or differs from the frame sent.
    fn receive(&mut self, control: &Control, number: u64, buffer: &mut [u8]) -> Result<Received>;

    /// Whether `receive` fills the buffer.
    fn copies(&self) -> bool {
        true
    }
}

/// A frame that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Its length in bytes.
    pub(crate) len: usize,
    /// When the reader held it, with the checksum verified, by the common clock.
    pub(crate) at: u64,
}

impl Transport {
    /// The one with this `id`.
    ///
    /// # Errors
    ///
    /// If there is none; the message lists them.
    pub(crate) fn find(id: &str) -> Result<&'static Self> {
        ALL.iter().find(|transport| transport.id == id).with_context(|| {
            let ids: Vec<&str> = ALL.iter().map(|transport| transport.id).collect();
            format!("there is no transport {id:?}; there are {}", ids.join(", "))
        })
    }
}

/// The version that a program reports.
fn version_of(program: &str, get_it: &str) -> Result<String> {
    let said = Command::new(program).arg("--version").output();
    let said = said.with_context(|| format!("{program} cannot be started; to get it: {get_it}"))?;
    anyhow::ensure!(said.status.success(), "{program} --version failed; to get it: {get_it}");
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Availability of a transport that is always there.
#[expect(clippy::unnecessary_wraps, reason = "others may be missing")]
fn built_in() -> Result<String> {
    Ok(String::new())
}

/// The transports with these ids, or all of them.
///
/// # Errors
///
/// If there is no such transport.
pub(crate) fn choose(ids: &[String]) -> Result<Vec<&'static Transport>> {
    ids.iter().try_for_each(|id| Transport::find(id).map(drop))?;
    // In the order of the table, and each only once.
    let chosen = |transport: &&Transport| ids.is_empty() || ids.iter().any(|id| id == transport.id);
    Ok(ALL.iter().filter(chosen).collect())
}
