//! [`FrameBufferClient`]: a program's access to a ring.

use std::fmt;
use std::path::PathBuf;

use crate::checksum::Checksum;
use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::frame::{Frame, RingId};
use crate::key::Key;
use crate::loan::Loan;
use crate::membership::Membership;
use crate::ring::frame::InitialState;
use crate::rings::{Finder, Rings};
use crate::segment::prefault::Prefault;
use crate::segment::{Segment, default_dir};
use crate::snapshot;
use crate::stats::{Counter, Stats};
use crate::transfer;
use crate::view::View;

/// Writes frames into a ring and reads them out of it.
///
/// A frame is written once and is immutable from then on. The ring keeps the last frames; older ones
/// are overwritten, and reading one of those is a [`FrameBufferTimeout`](crate::FrameBufferTimeout), never wrong bytes.
/// No operation waits for another process, and a process that dies during one holds nobody up.
///
/// When the ring's owner gives it up (it stops, or another ring takes its place), the next operation is an
/// [`Error::Retired`]: what is written there would reach nobody. A client from `connect` asks its sidecar for the next
/// ring then, for at most a quarter of a second, and goes over to it; until there is one, its operations are that
/// error, too. Views and loans of the old ring stay valid.
///
/// All methods that take `&self` may be called from many threads at once. Threads that share a client share a few cache
/// lines for it: for tens of thousands of small frames a second in each thread, give each a client of its own. One
/// client may have thousands of views and loans at once: it takes another of the ring's 256 participant slots for every
/// 64, and leaves the last four to others. After a `fork`, both parent and child may continue to use the client.
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
    rings: Option<Rings>,
}

/// Options to open a [`FrameBufferClient`], from [`FrameBufferClient::options`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before open"]
pub struct ClientOptions {
    key: Key,
    dir: PathBuf,
    prefault: Prefault,
    finder: Option<Finder>,
}

impl ClientOptions {
    /// The segment's folder. Default: [`default_dir`].
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// When this process touches the ring's pages. Default: on first use, see [`Prefault`].
    pub fn prefault(mut self, prefault: Prefault) -> Self {
        self.prefault = prefault;
        self
    }

    /// How to find the ring that takes the place of this one when its owner has given it up.
    #[cfg_attr(not(feature = "connect"), expect(dead_code, reason = "for `connect`"))]
    pub(crate) fn finder(mut self, finder: Finder) -> Self {
        self.finder = Some(finder);
        self
    }

    /// Opens the ring.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::open`].
    pub fn open(self) -> Result<FrameBufferClient, SegmentError> {
        let membership = self.join(&self.key)?;
        let rings = Rings::new(self.key.clone(), membership);
        Ok(FrameBufferClient { options: self, rings: Some(rings) })
    }

    fn join(&self, key: &Key) -> Result<Membership, SegmentError> {
        Membership::join(Segment::open(&self.dir, key, true)?, self.prefault, false)
    }
}

impl FrameBufferClient {
    /// Opens the ring with this key, in [`default_dir`].
    ///
    /// # Errors
    ///
    /// [`SegmentError`]: there is no such ring or no permission to open it, the file is damaged or not a segment of
    /// this version, or all participant slots are taken.
    pub fn open(key: &str) -> Result<Self, SegmentError> {
        Self::options(Key::new(key)?).open()
    }

    /// Options to open the ring with this key.
    pub fn options(key: Key) -> ClientOptions {
        ClientOptions { key, dir: default_dir(), prefault: Prefault::Off, finder: None }
    }

    /// Opens the ring again after [`FrameBufferClient::stop`]. Does nothing if it is open.
    ///
    /// # Errors
    ///
    /// As [`FrameBufferClient::open`].
    pub fn start(&mut self) -> Result<(), SegmentError> {
        if self.rings.is_none() {
            // The sidecar may have another ring than before.
            let found = self.options.finder.as_ref().and_then(|finder| (finder.0)().ok());
            let key = found.unwrap_or_else(|| self.options.key.clone());
            let membership = self.options.join(&key)?;
            self.rings = Some(Rings::new(key, membership));
        }
        Ok(())
    }

    /// Closes the ring. Dropping the client does the same.
    pub fn stop(&mut self) {
        self.rings = None;
    }

    /// Size of the ring and of its largest frame, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn size(&self) -> Result<u64, Error> {
        Ok(self.joined()?.segment().geometry().size)
    }

    /// Statistics of the ring.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(snapshot::stats(self.joined()?.ring()))
    }

    /// Allocates a frame of `size` bytes and returns its stream offset, for [`write`](Self::write).
    ///
    /// Takes nanoseconds and never waits. The oldest frames give way, except those in use.
    ///
    /// # Errors
    ///
    /// [`Error::LargerThanRing`]; [`Error::Exhausted`] if views, loans and operations in progress occupy so much of the
    /// ring that there is no room in it.
    pub fn allocate(&self, size: u64) -> Result<u64, Error> {
        self.membership()?.allocate(size)
    }

    /// Writes `data` into the frame allocated at `offset`, by this or another process, and returns its checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the ring has already moved past the frame; [`Error::TooLarge`]; [`Error::AlreadyWritten`],
    /// also if another writer has begun and not finished, or died; [`Error::NeverAllocated`].
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<Checksum, Error> {
        // SAFETY: a slice is valid for reads.
        unsafe { transfer::write(self.membership()?, offset, data.as_ptr(), data.len()) }
    }

    /// Allocates a frame, writes `data` into it and returns its description, for the reader.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn publish(&self, data: &[u8]) -> Result<Frame, Error> {
        // SAFETY: a slice is valid for reads.
        unsafe { transfer::publish(self.membership()?, data.as_ptr(), data.len()) }
    }

    /// Lends a frame of `size` bytes in the ring itself, to fill in place; [`Loan::commit`] makes it readable without a
    /// copy. Until overwritten, its bytes are those of older frames.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn loan(&self, size: u64) -> Result<Loan<'_>, Error> {
        let membership = self.membership()?;
        membership.with_pin(|ring, guard, locks| {
            let offset = ring.allocate(size, InitialState::Writing, guard.pin(), locks)?;
            Ok(Loan::new(membership, guard, offset, size))
        })
    }

    /// Reads the `size` bytes of the frame at `offset` and verifies them against `checksum`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the promised bytes are not there: overwritten meanwhile, not written yet, or of another
    /// size or checksum. [`Error::LargerThanRing`] and [`Error::NeverAllocated`] if this ring never had such a frame.
    /// [`Error::Retired`] if the ring was given up.
    pub fn read(&self, offset: u64, size: u64, checksum: Checksum) -> Result<Vec<u8>, Error> {
        self.read_frame(&Frame::new(offset, size, checksum))
    }

    /// Reads a frame into a new buffer. Reusing one, with [`read_into`](Self::read_into), is faster.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`Error::OtherRing`] if the description names another ring.
    pub fn read_frame(&self, frame: &Frame) -> Result<Vec<u8>, Error> {
        let membership = self.membership()?;
        membership.with_pin(|ring, guard, _| {
            let checksummed = ring.begin_read(frame, guard.pin())?;
            let mut data = Vec::with_capacity(frame.size as usize);
            // SAFETY: the capacity is the frame's size.
            unsafe { transfer::read_frame(membership, &guard, frame, checksummed, data.as_mut_ptr())? };
            // SAFETY: read_frame has written all of it.
            unsafe { data.set_len(frame.size as usize) };
            Ok(data)
        })
    }

    /// Reads a frame into `buffer`, whose length must be the frame's size. After an error its contents are arbitrary.
    ///
    /// # Errors
    ///
    /// As [`read_frame`](Self::read_frame), and [`Error::BufferLength`].
    pub fn read_into(&self, frame: &Frame, buffer: &mut [u8]) -> Result<(), Error> {
        let membership = self.membership()?;
        if buffer.len() as u64 != frame.size {
            return Err(Error::BufferLength { len: buffer.len() as u64, size: frame.size });
        }
        // SAFETY: the buffer's length is the frame's size.
        unsafe { transfer::read(membership, frame, buffer.as_mut_ptr()) }
    }

    /// A view of a frame in the ring itself, without a copy, in constant time. The frame is not overwritten for as long
    /// as the view lives: writers go around it.
    ///
    /// The promised checksum is compared with the one that the writer stored; [`View::verify`] hashes the bytes.
    ///
    /// # Errors
    ///
    /// As [`read_frame`](Self::read_frame).
    pub fn view(&self, frame: &Frame) -> Result<View<'_>, Error> {
        let membership = self.membership()?;
        membership.with_pin(|ring, guard, _| {
            let checksummed = ring.begin_read(frame, guard.pin())?;
            ring.count(guard.slot(), Counter::Views, 1);
            Ok(View::new(membership, guard, *frame, checksummed))
        })
    }

    /// The identity of the ring that this client is in now, which descriptions of its frames carry: for a [`Frame`]
    /// made by hand of what [`allocate`](Self::allocate) and [`write`](Self::write) return. Ask before these: a client
    /// from [`connect`](crate::connect()) may go over to another ring in between.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn ring_id(&self) -> Result<RingId, Error> {
        Ok(self.joined()?.segment().id())
    }

    /// The ring's key, which another process needs to open it. Treat it as a secret.
    pub fn get_key(&self) -> &str {
        self.rings.as_ref().map_or(&self.options.key, Rings::key).as_str()
    }

    /// The part in the ring that this client is in; in the next one, if that was given up and can be found.
    #[inline]
    pub(crate) fn membership(&self) -> Result<&Membership, Error> {
        let rings = self.rings.as_ref().ok_or(Error::Stopped)?;
        let current = rings.current();
        if current.segment().is_retired() { self.renew(rings) } else { Ok(current) }
    }

    /// The part in the ring that this client is in, whether that was given up or not: to look at it.
    pub(crate) fn joined(&self) -> Result<&Membership, Error> {
        self.rings.as_ref().map(Rings::current).ok_or(Error::Stopped)
    }

    /// Whether the client goes over to the next ring when this one is given up.
    pub(crate) fn finds_next_ring(&self) -> bool {
        self.options.finder.is_some()
    }

    #[cold]
    fn renew<'c>(&self, rings: &'c Rings) -> Result<&'c Membership, Error> {
        let finder = self.options.finder.as_ref().ok_or(Error::Retired)?;
        rings.renew(finder, |key| self.options.join(key))
    }
}

impl fmt::Debug for FrameBufferClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBufferClient").field("open", &self.rings.is_some()).finish_non_exhaustive()
    }
}
