//! [`Receiver`]: the reader's end of a channel.

use framebuffer::{ChannelInfo, FrameBufferClient, Sample, Start, Subscriber};

use crate::format::{self, Format, Video};
use crate::rate::Rate;
use crate::say;
use crate::shutdown::TICK;

/// Receives one stream after the other from a channel.
#[derive(Debug)]
pub struct Receiver<'c> {
    ring: &'c FrameBufferClient,
    subscriber: Subscriber<'c>,
    rate: Option<Rate>,
    /// Of the frames on the channel, once there is one.
    format: Option<(Format, Video)>,
    /// Whether frames of a stream have come that has not ended.
    is_streaming: bool,
    /// Frames that are no frames of a video.
    refused: u64,
}

/// What came.
#[derive(Debug)]
pub enum Received<'c> {
    /// The first frame of a stream, or the first that this reader sees of it.
    First(Frame<'c>),
    /// Another one.
    Frame(Frame<'c>),
    /// The stream's regular end.
    End,
    /// The writer is gone without an end.
    Gone,
    /// None yet.
    Nothing,
}

/// A frame, which stays in the ring while this lives.
#[derive(Debug)]
pub struct Frame<'c> {
    /// In the ring.
    pub sample: Sample<'c>,
    /// Its number in the stream, from 0.
    pub sequence: u64,
}

impl<'c> Receiver<'c> {
    /// Subscribes to the channel, from the next frame on. `is_lossless`: writers wait for this reader. `rate`: the one
    /// that raw frames have, of which the channel says nothing.
    ///
    /// # Errors
    ///
    /// As [`SubscriberOptions::open`](framebuffer::SubscriberOptions::open).
    pub fn open(
        ring: &'c FrameBufferClient,
        channel: &str,
        is_lossless: bool,
        rate: Option<Rate>,
    ) -> Result<Self, framebuffer::Error> {
        let options = ring.subscriber_options(channel).start(Start::New);
        let options = if is_lossless { options.lossless() } else { options };
        Ok(Self { ring, subscriber: options.open()?, rate, format: None, is_streaming: false, refused: 0 })
    }

    /// Frames of the channel that were overwritten before this reader came to them.
    pub fn lost(&self) -> u64 {
        self.subscriber.lost()
    }

    /// Frames of the channel that are no frames of a video.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The format of the channel's frames, once one has come.
    pub fn format(&self) -> Option<&Format> {
        self.format.as_ref().map(|(format, _)| format)
    }

    /// What comes next, within a tenth of a second.
    ///
    /// # Errors
    ///
    /// As [`Subscriber::next`].
    pub fn receive(&mut self) -> Result<Received<'c>, framebuffer::Error> {
        let mut next = self.subscriber.next(TICK)?;
        if next.is_none() && self.is_streaming && self.is_left() {
            // Its last frames may have come before it went.
            next = self.subscriber.try_next()?;
            if next.is_none() {
                self.is_streaming = false;
                return Ok(Received::Gone);
            }
        }
        let Some(sample) = next else { return Ok(Received::Nothing) };
        if sample.is_empty() {
            self.is_streaming = false;
            return Ok(Received::End);
        }
        if let Err(error) = self.check(&sample) {
            if self.refused == 0 {
                say!("frame-reader: refusing frames: {error:#}");
            }
            self.refused += 1;
            return Ok(Received::Nothing);
        }
        let frame = Frame { sequence: sample.descriptor().user_word(), sample };
        let is_first = !std::mem::replace(&mut self.is_streaming, true) || frame.sequence == 0;
        Ok(if is_first { Received::First(frame) } else { Received::Frame(frame) })
    }

    /// The picture of a frame, and its Y4M parameters.
    ///
    /// # Panics
    ///
    /// Never for the bytes of a frame from [`receive`](Self::receive), which has checked them.
    pub fn split<'f>(&self, frame: &'f [u8]) -> (&'f [u8], &'f str) {
        let video = self.format.as_ref().map(|(_, video)| video);
        video.and_then(|video| video.split(0, frame).ok()).unwrap_or_default()
    }

    /// Whether a frame is one of the channel's format.
    fn check(&mut self, sample: &Sample<'_>) -> Result<(), format::Error> {
        self.video()?.split(sample.number(), sample).map(drop)
    }

    /// The channel's format, once its first publisher has given it.
    fn video(&mut self) -> Result<Video, format::Error> {
        if let Some((_, video)) = self.format {
            return Ok(video);
        }
        let content_type = self.channel().and_then(|channel| channel.content_type).unwrap_or_default();
        let mut format = Format::parse(&content_type)?;
        if let (Format::Raw(raw), Some(rate)) = (&mut format, self.rate) {
            raw.rate = rate;
        }
        let video = format.video()?;
        self.format = Some((format, video));
        Ok(video)
    }

    /// Whether nobody publishes on the channel. Where that cannot be told, the next frame or its error tells more.
    fn is_left(&self) -> bool {
        self.channel().is_some_and(|channel| channel.publishers == 0)
    }

    fn channel(&self) -> Option<ChannelInfo> {
        self.ring.channel(&self.subscriber.channel()).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use framebuffer::{Descriptor, FrameBufferServer};

    use super::*;

    const CONTENT_TYPE: &str = "video/x-raw,format=GRAY8,width=4,height=1";

    fn ring() -> (FrameBufferServer, FrameBufferClient) {
        let server = FrameBufferServer::options(1 << 16).start().unwrap();
        let client = FrameBufferClient::open(server.get_key()).unwrap();
        (server, client)
    }

    /// What comes next, in words.
    fn next(receiver: &mut Receiver<'_>) -> String {
        match receiver.receive().unwrap() {
            Received::First(frame) => format!("first {}", frame.sequence),
            Received::Frame(frame) => format!("frame {}", frame.sequence),
            Received::End => "end".to_owned(),
            Received::Gone => "gone".to_owned(),
            Received::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn streams_follow_each_other_with_an_end_or_without() {
        let (_server, ring) = ring();
        let mut receiver = Receiver::open(&ring, "video", false, None).unwrap();
        let stream = |numbers: std::ops::Range<u64>, ends: bool| {
            let mut publisher = ring.publisher_options("video").content_type(CONTENT_TYPE).open().unwrap();
            for number in numbers {
                publisher.send_with(b"abcd", &Descriptor::new().user(number)).unwrap();
            }
            if ends {
                publisher.send(b"").unwrap();
            }
        };
        assert_eq!(next(&mut receiver), "nothing");
        stream(0..2, true);
        stream(7..8, false);
        stream(0..1, false);
        let seen: Vec<String> = (0..7).map(|_| next(&mut receiver)).collect();
        assert_eq!(seen, ["first 0", "frame 1", "end", "first 7", "first 0", "gone", "nothing"]);
        assert_eq!((receiver.lost(), receiver.refused()), (0, 0));
    }

    #[test]
    fn what_is_no_frame_of_the_video_is_refused_and_counted() {
        let (_server, ring) = ring();
        let mut receiver = Receiver::open(&ring, "video", false, None).unwrap();
        ring.publisher("video").unwrap().send(b"of no type").unwrap();
        assert_eq!((next(&mut receiver), receiver.refused()), ("nothing".to_owned(), 1));
        let mut publisher = ring.publisher_options("video").content_type(CONTENT_TYPE).open().unwrap();
        for frame in [&b"abc"[..], b"abcd\n", &[b'x'; 5000], b"abcdIp"] {
            publisher.send(frame).unwrap();
        }
        let seen: Vec<String> = (0..4).map(|_| next(&mut receiver)).collect();
        assert_eq!(
            (seen, receiver.refused()),
            (vec!["nothing".into(), "nothing".into(), "nothing".into(), "first 0".into()], 4)
        );
    }

    #[test]
    fn a_writer_that_pauses_is_not_gone() {
        let (_server, ring) = ring();
        let mut receiver = Receiver::open(&ring, "video", false, None).unwrap();
        let mut publisher = ring.publisher_options("video").content_type(CONTENT_TYPE).open().unwrap();
        publisher.send(b"abcd").unwrap();
        assert_eq!([next(&mut receiver), next(&mut receiver)], ["first 0", "nothing"]);
        drop(publisher);
        assert_eq!(next(&mut receiver), "gone");
    }
}
