//! [`ChannelError`]: what goes wrong with channels.

use thiserror::Error;

use crate::layout::{CHANNELS, CONTENT_TYPE_LENGTH, CURSORS, NAME_LENGTH};

/// Bytes of the longest name of a channel.
pub(crate) const LONGEST_NAME: usize = NAME_LENGTH - 1;
/// Bytes of the longest content type.
pub(crate) const LONGEST_CONTENT_TYPE: usize = CONTENT_TYPE_LENGTH - 1;

/// Why a channel could not be opened, or a frame not be sent over it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The name is empty.
    #[error("the name of a channel is empty; it has 1 to {LONGEST_NAME} bytes")]
    NameEmpty,
    /// The name is too long.
    #[error("the name of a channel, {name:?}, has {} bytes; {LONGEST_NAME} are the most", name.len())]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// The name has a character that none may have.
    #[error("the name of a channel, {name:?}, has {character:?} in it; it may have A-Z, a-z, 0-9, `.`, `_`, `/`, `-`")]
    NameCharacter {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
    /// The ring has as many channels as it can have.
    #[error("the ring already has {CHANNELS} channels, the most that it can have: no room for {name:?}")]
    TooManyChannels {
        /// The name of the channel that is not there.
        name: String,
    },
    /// The content type is too long.
    #[error("a content type of {length} bytes: {LONGEST_CONTENT_TYPE} are the most")]
    ContentTypeTooLong {
        /// Bytes of the content type.
        length: usize,
    },
    /// The channel has another content type.
    #[error("channel {name:?} has the content type {found:?}, and not {asked:?}")]
    ContentTypeDiffers {
        /// The channel.
        name: String,
        /// The content type that it has.
        found: String,
        /// The content type that was asked for.
        asked: String,
    },
    /// A publisher is to keep more frames than it can.
    #[error("a publisher keeps {limit} frames at most, not {asked}")]
    KeepTooLarge {
        /// Frames that were asked for.
        asked: usize,
        /// The most.
        limit: usize,
    },
    /// The shape has more dimensions than a descriptor has room for, or one that is too large.
    #[error("a shape of {rank} dimensions, the largest {largest}: 4 dimensions of at most {} are the most", u32::MAX)]
    ShapeTooLarge {
        /// Number of dimensions.
        rank: usize,
        /// The largest of them.
        largest: u64,
    },
    /// The frame does not have as many bytes as its shape says.
    #[error("a frame of {size} bytes does not fit its shape {shape:?} of elements of {bits} bits: that takes {needed}")]
    ShapeDiffers {
        /// The shape, outermost dimension first.
        shape: Vec<u32>,
        /// Bits of an element, all lanes together.
        bits: u64,
        /// Bytes that the shape takes, with the stride between its rows.
        needed: u64,
        /// Bytes of the frame.
        size: u64,
    },
    /// A lossless subscriber has yet to receive a frame that the publisher would let go of.
    #[error(
        "channel {channel:?}: a lossless subscriber (participant {participant}) has yet to receive frame {unread}, and \
         the publisher of frame {number} keeps the last {keep}"
    )]
    Backlog {
        /// The channel.
        channel: String,
        /// The number that the frame would have had.
        number: u64,
        /// The first frame that the subscriber has not received.
        unread: u64,
        /// The subscriber's slot.
        participant: usize,
        /// Frames that the publisher keeps.
        keep: usize,
    },
    /// The channel has as many lossless subscribers as it can have.
    #[error("channel {name:?} already has {CURSORS} lossless subscribers, the most that it can have")]
    TooManyLossless {
        /// The channel.
        name: String,
    },
    /// A publisher that keeps no frame and a lossless subscriber exclude each other.
    #[error(
        "channel {name:?}: a lossless subscriber needs publishers that keep at least one frame, and one keeps none"
    )]
    KeepsNone {
        /// The channel.
        name: String,
    },
}
