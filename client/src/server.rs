//! [`FrameBufferServer`]: the owner of a ring.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::error::segment::SegmentError;
use crate::frame::RingId;
use crate::key::Key;
use crate::membership::Membership;
use crate::ownership::Ownership;
use crate::segment::create::{self, OwnedSegment};
use crate::segment::geometry::geometry;
use crate::segment::prefault::Prefault;
use crate::segment::{default_dir, orphans, path};
use crate::snapshot;
use crate::stats::Stats;
use crate::window::Window;

/// Owns a ring: creates its segment in shared memory, provides its key, allocates frames, and retires and removes the
/// segment when stopped or dropped.
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
    ownership: Ownership,
    adopted: bool,
    /// When the window has forgotten frames of long ago.
    aged: Mutex<Instant>,
}

/// How long a window remembers large frames, at least.
const LATELY: Duration = Duration::from_secs(10);

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
    window: Window,
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

    /// How much of the ring is in use while nobody holds frames. Default: all of it.
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
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
        ServerOptions {
            size,
            key: None,
            dir: default_dir(),
            mode: 0o600,
            keep: false,
            prefault: Prefault::default(),
            window: Window::default(),
        }
    }

    /// Starts again after [`FrameBufferServer::stop`], with the same key and size. Does nothing if it is running.
    ///
    /// # Errors
    ///
    /// As [`ServerOptions::start`]. [`SegmentError::OwnershipLost`] if it is running and has lost its ring: see
    /// [`FrameBufferServer::check`].
    pub fn start(&mut self) -> Result<(), SegmentError> {
        if let Some(running) = &self.running {
            return running.ownership.confirm();
        }
        let ServerOptions { size, key: _, dir, mode, keep, prefault, window } = &self.options;
        // Orphans go first, so that their memory is free.
        orphans::clear(dir, &path(dir, &self.key));
        let OwnedSegment { segment, lock, adopted } = create::create(dir, &self.key, *size, *mode, *keep)?;
        segment.set_window(*window);
        let ownership = Ownership::new(dir.clone(), self.key.clone(), lock)?;
        match Membership::join(segment, *prefault, true) {
            Ok(membership) => {
                self.running = Some(Running { membership, ownership, adopted, aged: Mutex::new(Instant::now()) });
                Ok(())
            }
            Err(error) => {
                if !adopted {
                    // The error that is returned says why; one from the clean-up would hide it.
                    let _ = ownership.give_up();
                }
                Err(error)
            }
        }
    }

    /// Gives up ownership of the ring. Unless it is to be kept, retires it, so that its clients notice that nobody will
    /// find what they publish there, and removes its segment. Dropping the server does the same. Does nothing if the
    /// server is stopped; in a forked child, leaves the segment alone.
    ///
    /// # Errors
    ///
    /// If the segment cannot be removed. [`SegmentError::OwnershipLost`] if another server has adopted the ring, as
    /// described at [`FrameBufferServer::check`]: what that one owns stays as it is. In either case the server is
    /// stopped.
    pub fn stop(&mut self) -> Result<(), SegmentError> {
        let Some(Running { mut membership, ownership, .. }) = self.running.take() else { return Ok(()) };
        let cannot_be_touched = ownership.has_other_length();
        if !cannot_be_touched {
            // Before the lock is released, or the next owner would take us for a client.
            membership.leave();
        }
        let left = if self.options.keep { ownership.keep() } else { ownership.give_up() };
        // The mapping goes after the lock: whoever closes the last of a segment frees its memory, which takes long, and
        // no thread can fork while a lock's file is being closed. Giving the slots of a file back that was cut short
        // would touch the mapping, which ends the process (SIGBUS).
        if cannot_be_touched {
            std::mem::forget(membership);
        }
        left
    }

    /// Checks that the ring is in order: it is owned by this server; its file has its name and its length; its identity
    /// and head are plausible. What can be mended is: a lost lock is taken again, and a file that was moved away gets
    /// its name back. A server lives long, so call this once a second or so. A [`Window`] that has grown for large
    /// frames shrinks by it, once they have not come for 10 to 20 seconds.
    ///
    /// The lock is lost if the program closes a file descriptor of this library. Until this is noticed (by `check`,
    /// [`stats`](Self::stats), [`reap`](Self::reap), [`start`](Self::start) or [`stop`](Self::stop)) another server can
    /// take the ring over.
    ///
    /// In a forked child, the lock and the file are the parent's, and not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::OwnershipLost`]; [`Error::OutOfOrder`] with [`SegmentError::NameGone`] if the file was deleted, which
    /// cannot be undone: its clients can go on, but nobody else finds the ring, so stop the server and start it again;
    /// with [`SegmentError::NameTaken`] if another file has replaced it; with [`SegmentError::Head`] and other errors
    /// of opening a ring if some program has written over it or cut it short.
    pub fn check(&self) -> Result<(), Error> {
        let running = self.running()?;
        running.ownership.check(running.membership.segment()).map_err(out_of_order)?;
        let mut aged = running.aged.lock().unwrap_or_else(PoisonError::into_inner);
        if aged.elapsed() >= LATELY {
            running.membership.segment().age_window();
            *aged = Instant::now();
        }
        Ok(())
    }

    /// The ring's key, which a client needs to open it. Treat it as a secret.
    pub fn get_key(&self) -> &str {
        self.key.as_str()
    }

    /// Size of the ring and of its largest frame, in bytes.
    pub fn size(&self) -> u64 {
        self.options.size
    }

    /// The number of frames of `size` bytes that the ring keeps, if none is larger and nothing in use is in the way: in
    /// its [`Window`], or in all of it. 0 if a frame is larger than the ring.
    pub fn frames_kept(&self, size: u64) -> u64 {
        let kept = geometry(self.options.size).map_or(0, |geometry| geometry.frames_kept(size));
        match &self.running {
            Some(running) if kept > 0 => running.membership.segment().frames_in_window(size).min(kept),
            _ => kept,
        }
    }

    /// The ring's identity, which descriptions of its frames carry.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn ring_id(&self) -> Result<RingId, Error> {
        Ok(self.running()?.membership.segment().id())
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
    /// ring that there is no room in it; [`Error::Stopped`]; [`Error::OwnershipLost`] and
    /// [`Error::OutOfOrder`] once that was noticed: see [`check`](Self::check).
    pub fn allocate(&self, size: u64) -> Result<u64, Error> {
        let Running { membership, ownership, .. } = self.running()?;
        ownership.confirm_if_in_doubt().map_err(out_of_order)?;
        membership.allocate(size)
    }

    /// Statistics of the ring.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OwnershipLost`]; [`Error::OutOfOrder`] if the ring's file was cut short.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(snapshot::stats(self.confirmed()?.ring()))
    }

    /// Clears the slots of participants that have died and returns their number. Allocations do so when a dead
    /// participant is in their way; called once a second, this clears the others.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OwnershipLost`]; [`Error::OutOfOrder`] if the ring's file was cut short.
    pub fn reap(&self) -> Result<usize, Error> {
        self.confirmed()?.reap()
    }

    fn running(&self) -> Result<&Running, Error> {
        self.running.as_ref().ok_or(Error::Stopped)
    }

    /// The membership, if the ring is ours and can be touched.
    pub(crate) fn confirmed(&self) -> Result<&Membership, Error> {
        let running = self.running()?;
        running.ownership.confirm().map_err(out_of_order)?;
        Ok(&running.membership)
    }
}

fn out_of_order(error: SegmentError) -> Error {
    match error {
        SegmentError::OwnershipLost => Error::OwnershipLost,
        error => Error::OutOfOrder(error),
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
