//! [`Sender`]: the writer's end of a channel.

use std::time::{Duration, Instant};

use framebuffer::{ChannelError, Descriptor, FrameBufferClient, Publisher};
use thiserror::Error;

use crate::clock::now_ns;
use crate::format::Format;
use crate::shutdown::{Stop, TICK};
use crate::{say, source};

/// Between two looks for a reader.
const LOOK: Duration = Duration::from_millis(20);

/// How long readers hold the whole ring before they are asked again.
const PAUSE: Duration = Duration::from_millis(1);

/// How long the end of a stream waits for readers once the program is asked to stop.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a frame that is filled waits for a reader that another writer on the channel has got ahead of.
const OTHERS: Duration = Duration::from_secs(30);

/// Why the writer cannot go on.
#[derive(Debug, Error)]
pub enum Error {
    /// No reader in the given time.
    #[error(
        "no reader subscribed to channel {channel:?} within {} s: start frame-reader --channel {channel}",
        waited.as_secs()
    )]
    NoReader {
        /// The channel.
        channel: String,
        /// How long.
        waited: Duration,
    },
    /// The ring or the channel cannot be used.
    #[error(transparent)]
    Ring(#[from] framebuffer::Error),
    /// The video cannot be read.
    #[error(transparent)]
    Source(#[from] source::Error),
}

/// Sends the frames of one stream over a channel.
///
/// Its methods return `false` if they ended early because the program is asked to stop.
#[derive(Debug)]
pub struct Sender<'c> {
    ring: &'c FrameBufferClient,
    publisher: Publisher<'c>,
    stop: Stop,
    /// What is said of every frame.
    descriptor: Descriptor,
    sent: u64,
    waits: u64,
}

impl<'c> Sender<'c> {
    /// Opens the channel for frames of this format. `keep`: the last frames that stay in the ring, by which readers
    /// that lose none may be behind.
    ///
    /// # Errors
    ///
    /// [`Error::Ring`], if the channel has frames of another format, for example.
    pub fn open(
        ring: &'c FrameBufferClient,
        channel: &str,
        keep: usize,
        format: &Format,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let options = ring.publisher_options(channel).keep(keep).content_type(format.content_type());
        let descriptor = format.descriptor().map_err(framebuffer::Error::from)?;
        Ok(Self { ring, publisher: options.open()?, stop: stop.clone(), descriptor, sent: 0, waits: 0 })
    }

    /// Frames that were sent.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// How often there was no room because readers held the whole ring.
    pub const fn waits(&self) -> u64 {
        self.waits
    }

    /// Waits until somebody subscribes.
    ///
    /// # Errors
    ///
    /// [`Error::NoReader`] after `patience`.
    pub fn wait_for_reader(&self, patience: Duration) -> Result<bool, Error> {
        let (channel, started) = (self.publisher.channel(), Instant::now());
        let mut told = false;
        while !self.stop.is_set() {
            if self.ring.channel(&channel)?.is_some_and(|channel| channel.subscribers > 0) {
                return Ok(true);
            }
            if started.elapsed() >= patience {
                return Err(Error::NoReader { channel, waited: patience });
            }
            if !told {
                say!("frame-writer: waiting for a reader of channel {channel:?}");
                told = true;
            }
            self.stop.sleep(LOOK);
        }
        Ok(false)
    }

    /// Waits until readers that lose no frame let the next one be sent.
    ///
    /// # Errors
    ///
    /// [`Error::Ring`].
    pub fn wait_for_room(&mut self) -> Result<bool, Error> {
        while !self.stop.is_set() {
            if !is_backlog(self.publisher.ready(TICK))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fills a frame of `size` bytes in the ring itself, and sends it with the parameters of its Y4M header.
    ///
    /// # Errors
    ///
    /// [`enum@Error`].
    pub fn send(
        &mut self,
        size: u64,
        parameters: &str,
        fill: impl FnOnce(&mut [u8]) -> Result<(), source::Error>,
    ) -> Result<bool, Error> {
        while !self.stop.is_set() {
            let mut frame = match self.publisher.loan(size + parameters.len() as u64) {
                Ok(frame) => frame,
                // They give it back when they are done.
                Err(framebuffer::Error::Exhausted { .. }) => {
                    self.waits += 1;
                    self.stop.sleep(PAUSE);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let time = now_ns();
            let (picture, behind) = frame.split_at_mut(size as usize);
            fill(picture)?;
            behind.copy_from_slice(parameters.as_bytes());
            frame.describe(self.descriptor.time(time).user(self.sent));
            frame.send_timeout(OTHERS)?;
            self.sent += 1;
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends the stream, and waits until readers that lose no frame have received all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Ring`].
    pub fn finish(mut self) -> Result<bool, Error> {
        let end = Descriptor::new().user(self.sent);
        let asked = Instant::now();
        let is_over = || self.stop.is_set() && asked.elapsed() >= FAREWELL;
        while is_backlog(self.publisher.send_timeout(&[], &end, TICK).map(drop))? {
            if is_over() {
                return Ok(false);
            }
        }
        while is_backlog(self.publisher.flush(TICK))? {
            if is_over() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether readers that lose no frame were in the way.
fn is_backlog(result: Result<(), framebuffer::Error>) -> Result<bool, framebuffer::Error> {
    match result {
        Ok(()) => Ok(false),
        Err(framebuffer::Error::Channel(ChannelError::Backlog { .. })) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use framebuffer::{FrameBufferServer, Start};

    use super::*;

    const SIZE: u64 = 4;

    fn ring() -> (FrameBufferServer, FrameBufferClient) {
        let server = FrameBufferServer::options(1 << 16).start().unwrap();
        let client = FrameBufferClient::open(server.get_key()).unwrap();
        (server, client)
    }

    fn format() -> Format {
        Format::Raw("4x1:gray8".parse().unwrap())
    }

    fn fill(byte: u8) -> impl FnOnce(&mut [u8]) -> Result<(), source::Error> {
        move |picture| {
            picture.fill(byte);
            Ok(())
        }
    }

    #[test]
    fn a_stream_is_its_numbered_frames_and_an_empty_one() {
        let (_server, ring) = ring();
        let mut subscriber = ring.subscriber_options("video").start(Start::New).open().unwrap();
        let mut sender = Sender::open(&ring, "video", 8, &format(), &Stop::default()).unwrap();
        assert!(sender.wait_for_reader(Duration::ZERO).unwrap());
        assert!(sender.send(SIZE, "", fill(1)).unwrap() && sender.send(SIZE, "Ip", fill(2)).unwrap());
        assert_eq!(sender.sent(), 2);
        assert!(sender.finish().unwrap());
        let mut next = || {
            let frame = subscriber.try_next().unwrap().unwrap();
            (frame.to_vec(), frame.descriptor().user_word())
        };
        assert_eq!((next(), next()), ((vec![1; 4], 0), (b"\x02\x02\x02\x02Ip".to_vec(), 1)));
        assert_eq!(next(), (Vec::new(), 2));
    }

    #[test]
    fn a_reader_that_loses_nothing_holds_the_writer_up_until_it_is_asked_to_stop() {
        let (_server, ring) = ring();
        let stop = Stop::default();
        let mut subscriber = ring.subscriber_options("video").lossless().open().unwrap();
        let mut sender = Sender::open(&ring, "video", 1, &format(), &stop).unwrap();
        assert!(sender.wait_for_room().unwrap() && sender.send(SIZE, "", fill(1)).unwrap());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| sender.wait_for_room().unwrap());
            drop(subscriber.try_next().unwrap().unwrap());
            assert!(waiting.join().unwrap());
        });
        assert!(sender.send(SIZE, "", fill(2)).unwrap());
        stop.set();
        assert!(!sender.wait_for_room().unwrap());
        assert!(!sender.finish().unwrap(), "the reader has not received all");
    }

    #[test]
    fn the_end_of_a_stream_waits_until_a_reader_that_loses_nothing_has_all_of_it() {
        let (_server, ring) = ring();
        let stop = Stop::default();
        let mut subscriber = ring.subscriber_options("video").lossless().open().unwrap();
        let open = || Sender::open(&ring, "video", 8, &format(), &stop).unwrap();
        let mut sender = open();
        assert!(sender.send(SIZE, "", fill(1)).unwrap());
        std::thread::scope(|scope| {
            let finishing = scope.spawn(|| sender.finish().unwrap());
            for size in [SIZE, 0] {
                assert!(!finishing.is_finished());
                assert_eq!(subscriber.next(Duration::from_secs(30)).unwrap().unwrap().frame().size, size);
            }
            assert!(finishing.join().unwrap());
        });
        stop.set();
        assert!(!open().finish().unwrap(), "nobody has received the end");
    }

    #[test]
    fn without_a_reader_the_wait_ends_with_advice() {
        let (_server, ring) = ring();
        let sender = Sender::open(&ring, "left", 1, &format(), &Stop::default()).unwrap();
        let error = sender.wait_for_reader(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(error, "no reader subscribed to channel \"left\" within 0 s: start frame-reader --channel left");
    }

    #[test]
    fn a_channel_has_one_format() {
        let (_server, ring) = ring();
        let open = |format: &Format| Sender::open(&ring, "video", 1, format, &Stop::default()).map(|_| ());
        open(&format()).unwrap();
        let error = open(&Format::Raw("5x1:gray8".parse().unwrap())).unwrap_err().to_string();
        assert!(error.contains("width=4") && error.contains("width=5"), "{error}");
    }
}
