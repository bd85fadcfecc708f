//! The messages between the coordinator and its workers: JSON lines on a worker's standard input and output.
//!
//! Each order gets one answer. A worker ends when its standard input does.

use serde::{Deserialize, Serialize};

/// An order to a worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "lowercase")]
pub(crate) enum Order {
    /// Get ready for frames like these.
    Prepare(Frames),
    /// Send or receive frames.
    Run(Run),
}

/// The frames to move.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Frames {
    /// Bytes of a frame, 16 at least.
    pub(crate) size: usize,
    /// How many may be in flight at once.
    pub(crate) window: u64,
    /// Whether all bytes are filled and compared, also of frames that are moved without touching them. To test that a
    /// transport delivers, not to measure.
    pub(crate) whole: bool,
}

/// A run of frames.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The measure to take.
    pub(crate) measure: Measure,
    /// Frames before the measured ones.
    pub(crate) warm: u64,
    /// Frames that are measured.
    pub(crate) count: u64,
}

/// The measure that a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Measure {
    /// One frame in flight at a time: how long each takes.
    Latency,
    /// As many in flight as the window allows: how long all of them take.
    Throughput,
}

/// A worker's answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The error, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Of a reader after a latency run: for each measured frame, nanoseconds from the writer's stamp to this reader's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) latencies: Vec<u64>,
    /// Of a writer: when the first measured frame was begun, in nanoseconds of the common clock.
    #[serde(default)]
    pub(crate) started: u64,
    /// Of a reader: when it held the last frame.
    #[serde(default)]
    pub(crate) ended: u64,
}
