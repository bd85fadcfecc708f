//! [`FrameBufferClient`]: a program's access to a ring.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::checksum::Checksum;
use crate::error::{Error, FrameBufferTimeout, TimeoutReason};
use crate::frame::Frame;
use crate::key::Key;
use crate::loan::Loan;
use crate::membership::{Hold, Membership};
use crate::raw::copy_frame;
use crate::ring::BEING_WRITTEN;
use crate::segment::error::SegmentError;
use crate::segment::prefault::Prefault;
use crate::segment::{Segment, default_dir, stats};
use crate::server::allocate;
use crate::stats::{Counter, Stats};
use crate::view::View;

/// Writes frames into a ring and reads them out of it.
///
/// A frame is written once and immutable from then on. The ring keeps the last `size` bytes of frames; older ones are
/// overwritten, and reading one of those is a [`FrameBufferTimeout`], never wrong bytes. Nothing here waits for another
/// process, and a process that dies in the middle of something holds nobody up.
///
/// All methods that take `&self` may be called from many threads at once. After a `fork`, parent and child may both go on
/// using the client.
///
/// ```
/// use framebuffer::{Error, FrameBufferClient, FrameBufferServer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = FrameBufferServer::options(1 << 20).start()?;
/// let client = FrameBufferClient::open(server.get_key())?;
///
/// let frame = client.publish(&[7; 1000])?;
/// assert_eq!(client.read_frame(&frame)?, [7; 1000]);
///
/// for _ in 0..2000 {
///     client.publish(&[8; 1000])?;
/// }
/// assert!(matches!(client.read_frame(&frame), Err(Error::Timeout(_))));
/// # Ok(())
/// # }
/// ```
pub struct FrameBufferClient {
    options: ClientOptions,
    membership: Option<Membership>,
}

/// How a [`FrameBufferClient`] is to be opened. Made by [`FrameBufferClient::options`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before open"]
pub struct ClientOptions {
    key: Key,
    dir: PathBuf,
    prefault: Prefault,
}

impl ClientOptions {
    /// The folder that the segment is in. Default: [`default_dir`].
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// When this process's mapping of the ring is populated. Default: in the background.
    pub fn prefault(mut self, prefault: Prefault) -> Self {
        self.prefault = prefault;
        self
    }

    /// Opens the ring.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::open`].
    pub fn open(self) -> Result<FrameBufferClient, SegmentError> {
        let mut client = FrameBufferClient { options: self, membership: None };
        client.start()?;
        Ok(client)
    }
}

impl FrameBufferClient {
    /// Opens the ring with this key, in [`default_dir`].
    ///
    /// # Errors
    ///
    /// [`SegmentError`]: no such ring, no permission, a file that is not a segment of this version or is damaged, or all
    /// participant slots taken.
    pub fn open(key: &str) -> Result<Self, SegmentError> {
        Self::options(Key::new(key)?).open()
    }

    /// Options for opening the ring with this key.
    pub fn options(key: Key) -> ClientOptions {
        ClientOptions { key, dir: default_dir(), prefault: Prefault::default() }
    }

    /// Opens the ring again after [`FrameBufferClient::stop`]. Does nothing if it is open.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::open`].
    pub fn start(&mut self) -> Result<(), SegmentError> {
        if self.membership.is_none() {
            let ClientOptions { key, dir, prefault } = &self.options;
            self.membership = Some(Membership::join(Segment::open(dir, key, true)?, *prefault, false)?);
        }
        Ok(())
    }

    /// Closes the ring. Dropping the client does the same.
    pub fn stop(&mut self) {
        self.membership = None;
    }

    /// Size of the ring, and of its largest frame, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn size(&self) -> Result<u64, Error> {
        Ok(self.membership()?.segment().geometry().size)
    }

    /// What the ring says about itself.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(stats(self.membership()?.ring()))
    }

    /// Allocates a frame of `size` bytes and returns its stream offset, for [`write`](Self::write).
    ///
    /// Takes nanoseconds, never waits. The oldest frames give way, but none that somebody is using.
    ///
    /// # Errors
    ///
    /// [`Error::LargerThanRing`]; [`Error::Exhausted`] if views and operations under way hold so much of the ring that
    /// nowhere in it is room.
    pub fn allocate(&self, size: u64) -> Result<u64, Error> {
        allocate(self.membership()?, size)
    }

    /// Writes `data` into the frame that was allocated at `offset`, by whichever process, and returns its checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the ring has moved past the frame already; [`Error::TooLarge`]; [`Error::AlreadyWritten`], also
    /// while another writer is at work or has died at it; [`Error::NeverAllocated`].
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<Checksum, Error> {
        // SAFETY: a slice is valid for reads.
        unsafe { self.write_raw(offset, data.as_ptr(), data.len()) }
    }

    /// Allocates a frame, writes `data` into it and returns its description, for the reader.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn publish(&self, data: &[u8]) -> Result<Frame, Error> {
        // SAFETY: a slice is valid for reads.
        unsafe { self.publish_raw(data.as_ptr(), data.len()) }
    }

    /// Lends a frame of `size` bytes in the ring itself, to be filled in place: [`Loan::commit`] makes it readable without
    /// a copy. Its bytes are those of older frames until they are overwritten.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn loan(&self, size: u64) -> Result<Loan<'_>, Error> {
        let membership = self.membership()?;
        membership.with_pin(|ring, hold, locks| {
            let offset = ring.allocate(size, BEING_WRITTEN, hold.pin(), locks)?;
            Ok(Loan::new(membership, hold, offset, size))
        })
    }

    /// Reads the `size` bytes of the frame at `offset` and compares them with `checksum`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if these are not the bytes that were promised: overwritten meanwhile, not written yet, of another
    /// size or checksum. [`Error::LargerThanRing`] and [`Error::NeverAllocated`] if they cannot have been.
    pub fn read(&self, offset: u64, size: u64, checksum: Checksum) -> Result<Vec<u8>, Error> {
        self.read_frame(&Frame { offset, size, checksum })
    }

    /// Reads a frame. A buffer that is used again, with [`read_into`](Self::read_into), is faster than a new one each time.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_frame(&self, frame: &Frame) -> Result<Vec<u8>, Error> {
        let membership = self.membership()?;
        membership.with_pin(|ring, hold, _| {
            let stands_for = ring.begin_read(frame, hold.pin())?;
            let mut data = Vec::with_capacity(frame.size as usize);
            // SAFETY: the capacity is the frame's size.
            unsafe { copy_frame(membership, &hold, frame, stands_for, data.as_mut_ptr())? };
            // SAFETY: copy_frame has written all of it.
            unsafe { data.set_len(frame.size as usize) };
            Ok(data)
        })
    }

    /// Reads a frame into `buffer`, whose length is the frame's size. After an error the buffer's contents are arbitrary.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`Error::BufferLength`].
    pub fn read_into(&self, frame: &Frame, buffer: &mut [u8]) -> Result<(), Error> {
        self.membership()?;
        if buffer.len() as u64 != frame.size {
            return Err(Error::BufferLength { len: buffer.len() as u64, size: frame.size });
        }
        // SAFETY: the buffer's length is the frame's size.
        unsafe { self.read_raw(frame, buffer.as_mut_ptr()) }
    }

    /// A view of a frame in the ring itself, without a copy, in a time that does not depend on its size. The frame is not
    /// overwritten for as long as the view lives: writers go around it.
    ///
    /// The promised checksum is compared with the one that the writer stored; [`View::verify`] hashes the bytes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn view(&self, frame: &Frame) -> Result<View<'_>, Error> {
        let membership = self.membership()?;
        membership.with_pin(|ring, hold, _| {
            let stands_for = ring.begin_read(frame, hold.pin())?;
            ring.count(hold.slot(), Counter::Views, 1);
            Ok(View::new(membership, hold, *frame, stands_for))
        })
    }

    /// The ring's key: what another process needs to open it. Treat it as a secret.
    pub fn get_key(&self) -> &str {
        self.options.key.as_str()
    }

    pub(crate) fn membership(&self) -> Result<&Membership, Error> {
        self.membership.as_ref().ok_or(Error::Stopped)
    }
}

/// Compares a hash of a frame's bytes with what was promised.
pub(crate) fn check(
    membership: &Membership,
    hold: &Hold<'_>,
    promised: &Frame,
    found: Checksum,
) -> Result<(), FrameBufferTimeout> {
    if found == promised.checksum {
        return Ok(());
    }
    let reason = TimeoutReason::ChecksumMismatch { promised: promised.checksum, found };
    membership.ring().count_timeout(hold.slot(), reason);
    Err(FrameBufferTimeout { offset: promised.offset, reason })
}

/// The time that frames are stamped with.
pub(crate) fn nanoseconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

impl fmt::Debug for FrameBufferClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBufferClient").field("open", &self.membership.is_some()).finish_non_exhaustive()
    }
}
