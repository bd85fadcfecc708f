//! Channels and frames as JSON: what the API answers and the commands print.

use std::time::SystemTime;

use framebuffer::{ChannelInfo, Checksum, Descriptor, Element, FrameInfo, LatestFrame, LosslessInfo, RingId};
use serde::Serialize;
use utoipa::ToSchema;

/// A channel and its figures since the ring was made, called as the metrics.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelFigures {
    /// Its name, 1 to 63 of `A-Za-z0-9._/-`.
    name: String,
    /// Frames sent.
    frames_sent: u64,
    /// Bytes of these frames.
    sent_bytes: u64,
    /// Frames overwritten before a subscriber received them, of all subscribers.
    frames_lost: u64,
    /// Frames that subscribers passed over for a newer one, of all subscribers.
    frames_skipped: u64,
    /// Participants that publish now.
    publishers: usize,
    /// Participants that subscribe now.
    subscribers: usize,
    /// Lossless subscribers, for which publishers wait.
    lossless_subscribers: usize,
    /// Frames that the slowest of them has yet to receive.
    unread_frames: u64,
    /// How long ago the last frame was sent. Missing before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_frame_age_seconds: Option<f64>,
}

impl From<&ChannelInfo> for ChannelFigures {
    fn from(info: &ChannelInfo) -> Self {
        Self {
            name: info.name.clone(),
            frames_sent: info.frames,
            sent_bytes: info.bytes,
            frames_lost: info.lost,
            frames_skipped: info.skipped,
            publishers: info.publishers,
            subscribers: info.subscribers,
            lossless_subscribers: info.lossless.len(),
            unread_frames: info.most_unread(),
            last_frame_age_seconds: info.last_frame_age().map(|age| age.as_secs_f64()),
        }
    }
}

/// All that is known of a channel.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelReport {
    #[serde(flatten)]
    figures: ChannelFigures,
    /// The type of its frames, if a publisher has told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Its lossless subscribers.
    lossless: Vec<LosslessReport>,
}

/// A lossless subscriber.
#[derive(Debug, Serialize, ToSchema)]
pub struct LosslessReport {
    /// The number of its slot, by which errors of publishers name it.
    participant: usize,
    /// The id of its process in that process's own PID namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    /// Number of the first frame that it has not received yet.
    next_number: u64,
    /// Frames that it has yet to receive. A publisher that keeps so many waits for it.
    unread_frames: u64,
}

impl From<ChannelInfo> for ChannelReport {
    fn from(info: ChannelInfo) -> Self {
        let lossless = info.lossless.iter().map(|subscriber| {
            let LosslessInfo { participant, process, next_number, unread, .. } = *subscriber;
            LosslessReport { participant, process, next_number, unread_frames: unread }
        });
        Self { figures: ChannelFigures::from(&info), lossless: lossless.collect(), content_type: info.content_type }
    }
}

/// The last frame of a channel: its description, with which a client of the ring reads it, and what is said of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LatestReport {
    /// The channel's name.
    channel: String,
    /// Its sequence number in the channel, from 0 on.
    number: u64,
    /// Stream offset of its first byte.
    offset: u64,
    /// Bytes.
    size: u64,
    /// Of the bytes, or of the frame's identity if they were not hashed.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    checksum: Checksum,
    /// The ring that it is in.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{16}$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ring: Option<RingId>,
    /// Whether the checksum is that of the bytes.
    hashed: bool,
    /// When it was committed, in nanoseconds since 1970.
    committed_ns: u64,
    /// How long ago that was.
    age_seconds: f64,
    #[serde(flatten)]
    description: DescriptionReport,
}

impl LatestReport {
    /// The last frame of this channel.
    pub fn new(channel: String, latest: &LatestFrame) -> Self {
        Self {
            channel,
            number: latest.number,
            offset: latest.frame.offset,
            size: latest.frame.size,
            checksum: latest.frame.checksum,
            ring: latest.frame.ring,
            hashed: latest.hashed,
            committed_ns: nanoseconds(latest.committed),
            age_seconds: age(latest.committed),
            description: DescriptionReport::from(&latest.descriptor),
        }
    }
}

/// A frame that is in the ring.
#[derive(Debug, Serialize)]
pub struct FrameReport {
    offset: u64,
    size: u64,
    /// `reserved`, `writing`, `committed` or `unhashed`.
    state: &'static str,
    in_use: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(flatten)]
    description: Option<DescriptionReport>,
}

impl From<FrameInfo> for FrameReport {
    fn from(info: FrameInfo) -> Self {
        Self {
            offset: info.offset,
            size: info.size,
            state: info.state.as_str(),
            in_use: info.in_use,
            checksum: info.checksum,
            committed_ns: info.committed.map(nanoseconds),
            age_seconds: info.committed.map(age),
            channel: info.channel,
            number: info.number,
            description: info.descriptor.as_ref().map(DescriptionReport::from),
        }
    }
}

/// What the writer says of a frame. What it does not say is missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct DescriptionReport {
    /// When the content is from, in nanoseconds of the clock that writer and reader agree on.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ns: Option<u64>,
    /// The type of its elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<ElementReport>,
    /// Elements in each dimension, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shape: Vec<u32>,
    /// Bytes from one row to the next, if they do not lie one behind the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<u64>,
    /// The pixel format, as in V4L2 and DRM.
    #[serde(skip_serializing_if = "Option::is_none")]
    fourcc: Option<String>,
    /// The writer's own eight bytes, as a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u64>,
}

/// The type of elements, as `DLPack`'s `DLDataType` has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ElementReport {
    /// As Python writes it: `uint8`, `float32`.
    name: String,
    /// Kind of number: 0 signed, 1 unsigned, 2 float, and so on.
    code: u8,
    /// Bits of a lane.
    bits: u8,
    /// Numbers in an element.
    lanes: u16,
}

impl From<&Descriptor> for DescriptionReport {
    fn from(descriptor: &Descriptor) -> Self {
        let told = |word: u64| (word != 0).then_some(word);
        let element = descriptor.element_type();
        let Element { code, bits, lanes } = element;
        let fourcc = descriptor.pixel_format();
        Self {
            time_ns: told(descriptor.time_nanoseconds()),
            element: (!element.is_unknown()).then(|| ElementReport { name: element.to_string(), code, bits, lanes }),
            shape: descriptor.dimensions().to_vec(),
            stride: told(descriptor.row_stride()),
            fourcc: (!fourcc.is_none()).then(|| fourcc.to_string()),
            user: told(descriptor.user_word()),
        }
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds since then; 0 for what seems to lie in the future.
fn age(time: SystemTime) -> f64 {
    time.elapsed().unwrap_or_default().as_secs_f64()
}
