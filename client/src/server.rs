//! [`FrameBufferServer`]: the owner of a ring.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::key::Key;
use crate::membership::Membership;
use crate::segment::create::{self, OwnedSegment};
use crate::segment::default_dir;
use crate::segment::geometry::geometry;
use crate::segment::locks::FileLock;
use crate::segment::prefault::Prefault;
use crate::snapshot;
use crate::stats::Stats;

/// Owns a ring: creates its segment in shared memory, provides its key, allocates frames, and removes the segment when
/// stopped or dropped.
///
/// All methods that take `&self` may be called from many threads at once.
///
/// ```
/// use framebuffer::{FrameBufferClient, FrameBufferServer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = FrameBufferServer::options(1 << 20).start()?; // with a random key
/// let client = FrameBufferClient::open(server.get_key())?;
///
/// let offset = server.allocate(5)?;
/// let checksum = client.write(offset, b"hello")?;
/// assert_eq!(client.read(offset, 5, checksum)?, b"hello");
/// # Ok(())
/// # }
/// ```
pub struct FrameBufferServer {
    options: ServerOptions,
    key: Key,
    running: Option<Running>,
}

struct Running {
    membership: Membership,
    lock: FileLock,
    adopted: bool,
}

/// Options to start a [`FrameBufferServer`], from [`FrameBufferServer::options`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before start"]
pub struct ServerOptions {
    size: u64,
    key: Option<Key>,
    dir: PathBuf,
    mode: u32,
    keep: bool,
    prefault: Prefault,
}

impl ServerOptions {
    /// The ring's key. Default: 128 random bits.
    pub fn key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    /// The folder for the segment, on a tmpfs. Default: [`default_dir`].
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Permission bits of the segment: who may open it. Default: `0o600`, the server's user. The umask does not apply.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Whether the segment outlives the server. If so, it is not removed at the end, and the next server with the same
    /// key and size adopts it, with all frames and attached clients. Default: no; a segment left by a dead server is
    /// replaced.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// When the ring's pages are touched. Default: in the background.
    pub fn prefault(mut self, prefault: Prefault) -> Self {
        self.prefault = prefault;
        self
    }

    /// Creates (or adopts) the ring.
    ///
    /// # Errors
    ///
    /// [`SegmentError`]: the size is 0, beyond the limit or more than the available memory; a live server owns the key;
    /// a file of that name is not a segment of this version; the ring to adopt has another size; or a system call
    /// failed. Nothing is left behind, and a refused file is left unchanged.
    pub fn start(self) -> Result<FrameBufferServer, SegmentError> {
        let key = match &self.key {
            Some(key) => key.clone(),
            None => Key::random().map_err(SegmentError::io("read random bytes for a key"))?,
        };
        let mut server = FrameBufferServer { options: self, key, running: None };
        server.start()?;
        Ok(server)
    }
}

impl FrameBufferServer {
    /// Creates a ring of `size` bytes, and owns it. [Which frames](crate#memory) it keeps depends on their sizes.
    ///
    /// # Errors
    ///
    /// As [`ServerOptions::start`].
    pub fn new(key: &str, size: u64) -> Result<Self, SegmentError> {
        Self::options(size).key(Key::new(key)?).start()
    }

    /// Options to start a ring of `size` bytes.
    pub fn options(size: u64) -> ServerOptions {
        ServerOptions { size, key: None, dir: default_dir(), mode: 0o600, keep: false, prefault: Prefault::default() }
    }

    /// Starts again after [`FrameBufferServer::stop`], with the same key and size. Does nothing if it is running.
    ///
    /// # Errors
    ///
    /// As [`ServerOptions::start`].
    pub fn start(&mut self) -> Result<(), SegmentError> {
        if self.running.is_none() {
            let ServerOptions { size, key: _, dir, mode, keep, prefault } = &self.options;
            let OwnedSegment { segment, lock, adopted } = create::create(dir, &self.key, *size, *mode, *keep)?;
            let membership = Membership::join(segment, *prefault, true).inspect_err(|_| {
                if !adopted {
                    // The error that follows says why; one from the clean-up would hide it.
                    let _ = create::remove(dir, &self.key, &lock);
                }
            })?;
            self.running = Some(Running { membership, lock, adopted });
        }
        Ok(())
    }

    /// Gives up ownership of the ring and removes its segment, unless it is to be kept. Clients that have it open can
    /// continue to use it. Dropping the server does the same. Does nothing if the server is stopped; in a forked child,
    /// leaves the segment alone.
    ///
    /// # Errors
    ///
    /// If the segment cannot be removed.
    pub fn stop(&mut self) -> Result<(), SegmentError> {
        match self.running.take() {
            Some(Running { mut membership, lock, adopted: _ }) => {
                membership.leave();
                let removed =
                    if self.options.keep { Ok(()) } else { create::remove(&self.options.dir, &self.key, &lock) };
                // Before the mapping: whoever closes the last of a segment frees its memory, which takes long, and no
                // thread can fork while a lock's file is being closed.
                drop(lock);
                removed
            }
            None => Ok(()),
        }
    }

    /// The ring's key, which a client needs to open it. Treat it as a secret.
    pub fn get_key(&self) -> &str {
        self.key.as_str()
    }

    /// Size of the ring and of its largest frame, in bytes.
    pub fn size(&self) -> u64 {
        self.options.size
    }

    /// The number of frames of `size` bytes that the ring keeps, if none is larger and nothing in use is in the way. 0 if
    /// a frame is larger than the ring.
    pub fn frames_kept(&self, size: u64) -> u64 {
        geometry(self.options.size).map_or(0, |geometry| geometry.frames_kept(size))
    }

    /// Whether the ring already existed, left by another server that kept it.
    pub fn adopted(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.adopted)
    }

    /// Allocates a frame of `size` bytes and returns its stream offset, for [`write`](crate::FrameBufferClient::write).
    ///
    /// Takes nanoseconds and never waits. The oldest frames give way, except those in use.
    ///
    /// # Errors
    ///
    /// [`Error::LargerThanRing`]; [`Error::Exhausted`] if views, loans and operations in progress occupy so much of the
    /// ring that there is no room in it; [`Error::Stopped`].
    pub fn allocate(&self, size: u64) -> Result<u64, Error> {
        self.membership()?.allocate(size)
    }

    /// Statistics of the ring.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(snapshot::stats(self.membership()?.ring()))
    }

    /// Clears the slots of participants that have died and returns their number. Allocations do so when a dead
    /// participant is in their way; called once a second, this clears the others.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn reap(&self) -> Result<usize, Error> {
        self.membership()?.reap()
    }

    fn membership(&self) -> Result<&Membership, Error> {
        self.running.as_ref().map(|running| &running.membership).ok_or(Error::Stopped)
    }
}

impl Drop for FrameBufferServer {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to remove a ring's segment");
        }
    }
}

impl fmt::Debug for FrameBufferServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBufferServer")
            .field("size", &self.options.size)
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}
