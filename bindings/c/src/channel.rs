//! [`Channel`]: a channel as it looks from outside.

use std::ffi::c_char;
use std::time::UNIX_EPOCH;

use framebuffer::ChannelInfo;

use crate::call::{check_size, guard, out, present};
use crate::client::Client;
use crate::error::{Failure, Status};
use crate::growing::put_members;

/// The most channels that a ring has.
pub const MAX_CHANNELS: usize = 64;
/// The most lossless subscribers that a channel has.
pub const MAX_LOSSLESS: usize = 8;

/// A channel of a ring, and its figures since the ring was made. They are read one after the other while the channel is
/// in use.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    /// Its name.
    pub name: [c_char; 64],
    /// Its content type, "" if no publisher has given one.
    pub content_type: [c_char; 256],
    /// Frames that were sent.
    pub frames: u64,
    /// Bytes of all these frames.
    pub bytes: u64,
    /// Frames that subscribers have lost, all told.
    pub lost: u64,
    /// Frames that subscribers have skipped, all told.
    pub skipped: u64,
    /// When the last frame was sent, in nanoseconds since 1970; 0 if none was.
    pub last_sent_ns: u64,
    /// Participants that publish.
    pub publishers: u64,
    /// Participants that subscribe.
    pub subscribers: u64,
    /// The lossless subscribers among them.
    pub lossless: u64,
    /// The first `lossless` are these.
    pub lossless_subscribers: [Lossless; 8],
}

/// A lossless subscriber of a channel.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Lossless {
    /// The participant, by the number of its slot.
    pub participant: u64,
    /// The number of the first frame that it has not received yet.
    pub next_number: u64,
}

impl From<&ChannelInfo> for Channel {
    fn from(info: &ChannelInfo) -> Self {
        let mut lossless_subscribers = [Lossless::default(); MAX_LOSSLESS];
        for (to, from) in lossless_subscribers.iter_mut().zip(&info.lossless) {
            *to = Lossless { participant: from.participant as u64, next_number: from.next_number };
        }
        let since_1970 = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            name: zero_terminated(&info.name),
            content_type: zero_terminated(info.content_type.as_deref().unwrap_or_default()),
            frames: info.frames,
            bytes: info.bytes,
            lost: info.lost,
            skipped: info.skipped,
            last_sent_ns: info.last_sent.map_or(0, |time| since_1970(time).as_nanos() as u64),
            publishers: info.publishers as u64,
            subscribers: info.subscribers as u64,
            lossless: info.lossless.len().min(MAX_LOSSLESS) as u64,
            lossless_subscribers,
        }
    }
}

/// A text, or as many characters of it as fit, and zeros.
fn zero_terminated<const SIZE: usize>(text: &str) -> [c_char; SIZE] {
    let mut terminated = [0; SIZE];
    let len = text.floor_char_boundary(SIZE - 1);
    for (to, from) in terminated.iter_mut().zip(&text.as_bytes()[..len]) {
        *to = c_char::from_ne_bytes([*from]);
    }
    terminated
}

/// Lists the channels of the ring, sorted by name, in the array `channels`, which has `capacity` elements, and stores
/// in `count` how many there are. FRAMEBUFFER_MAX_CHANNELS elements are enough; of more channels than there are
/// elements it writes the first ones. Pass `sizeof *channels` as `channel_size`, as for framebuffer_client_stats().
///
/// # Safety
///
/// `channels` is NULL or valid for writes of `capacity` elements of `channel_size` bytes; `count` is NULL or valid for
/// writing a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn framebuffer_client_channels(
    client: Option<&Client>,
    channels: *mut Channel,
    channel_size: usize,
    capacity: usize,
    count: *mut usize,
) -> Status {
    guard(|| {
        let count = out("count", count)?;
        check_size(capacity.saturating_mul(channel_size))?;
        if channels.is_null() && capacity > 0 {
            return Err(Failure::Null { name: "channels" });
        }
        let list = present("client", client)?.shared().channels()?;
        for (at, info) in list.iter().enumerate().take(capacity) {
            // SAFETY: the caller guarantees it, and `at` is below `capacity`.
            let to = unsafe { channels.byte_add(at * channel_size) };
            // SAFETY: as above, and the texts and numbers of the struct leave no padding.
            unsafe { put_members("channels", &Channel::from(info), to, channel_size) }?;
        }
        // SAFETY: the caller guarantees it.
        unsafe { count.put(list.len()) };
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_layout_of_the_header_without_padding() {
        use std::mem::offset_of;
        assert_eq!([offset_of!(Channel, content_type), offset_of!(Channel, frames)], [64, 320]);
        assert_eq!([offset_of!(Channel, lossless), offset_of!(Channel, lossless_subscribers)], [376, 384]);
        assert_eq!(size_of::<Channel>(), 512);
    }

    #[test]
    fn a_text_that_is_too_long_ends_with_a_whole_character() {
        let ab = [b'a', b'b', 0, 0].map(|byte| c_char::from_ne_bytes([byte]));
        assert_eq!(zero_terminated::<4>("ab"), ab);
        assert_eq!(zero_terminated::<4>("ab\u{e9}"), ab);
    }
}
