//! Moving bytes between a ring and memory known by its address, which is not always that of a Rust slice: it may be
//! uninitialised, and other threads may write to it.

use std::time::SystemTime;

use crate::checksum::{Checksum, copy_in, copy_out};
use crate::error::{Error, FrameBufferTimeout, TimeoutReason};
use crate::frame::Frame;
use crate::membership::Membership;
use crate::ring::frame::Checksummed;
use crate::ring::frame::InitialState;
use crate::slots::PinGuard;
use crate::stats::Counter;

/// Allocates a frame, copies the `len` bytes at `data` into it and commits it.
///
/// # Safety
///
/// `data` is valid for reads of `len` bytes.
#[inline]
pub(crate) unsafe fn publish(membership: &Membership, data: *const u8, len: usize) -> Result<Frame, Error> {
    membership.with_pin(|ring, guard, locks| {
        let offset = ring.allocate(len as u64, InitialState::Writing, guard.pin(), locks)?;
        // SAFETY: the ring has given us `len` bytes there, and the caller vouches for the source.
        unsafe { write_frame(membership, &guard, offset, data, len) }
    })
}

/// Copies the `len` bytes at `data` into the frame allocated at `offset` and commits it.
///
/// # Safety
///
/// `data` is valid for reads of `len` bytes.
#[inline]
pub(crate) unsafe fn write(
    membership: &Membership,
    offset: u64,
    data: *const u8,
    len: usize,
) -> Result<Checksum, Error> {
    let mut begun = false;
    membership.with_pin(|ring, guard, _| {
        if std::mem::replace(&mut begun, true) {
            // It has begun the frame, lost its slot and joined again. A frame is not begun twice.
            return Err(Error::ParticipantLost);
        }
        ring.begin_write(offset, len as u64, guard.pin()).inspect_err(|error| {
            if let Error::Timeout(timeout) = error {
                ring.count_timeout(guard.slot(), timeout.reason);
            }
        })?;
        // SAFETY: at least `len` bytes are allocated there, and the caller vouches for the source.
        Ok(unsafe { write_frame(membership, &guard, offset, data, len) }?.checksum)
    })
}

/// Copies a frame to `to`, which may be uninitialised, and verifies its checksum.
///
/// # Safety
///
/// `to` is valid for writes of `frame.size` bytes.
#[inline]
pub(crate) unsafe fn read(membership: &Membership, frame: &Frame, to: *mut u8) -> Result<(), Error> {
    membership.with_pin(|ring, guard, _| {
        let checksummed = ring.begin_read(frame, guard.pin())?;
        // SAFETY: the caller vouches for it.
        unsafe { read_frame(membership, &guard, frame, checksummed, to) }
    })
}

/// Copies the `len` bytes at `data` into the frame at `offset`, which `guard` pins and whose one writer the caller is,
/// and commits it.
///
/// # Safety
///
/// `data` is valid for reads of `len` bytes, and as many are allocated at `offset`.
unsafe fn write_frame(
    membership: &Membership,
    guard: &PinGuard<'_>,
    offset: u64,
    data: *const u8,
    len: usize,
) -> Result<Frame, Error> {
    // SAFETY: as the caller vouches for.
    let checksum = unsafe { copy_frame_in(membership, offset, data, len) };
    let frame = Frame { offset, size: len as u64, checksum, ring: Some(membership.segment().id()) };
    let now = nanoseconds_since_1970();
    membership.check_name(now)?;
    membership.ring().commit(&frame, Checksummed::Bytes, now, guard.pin())?;
    Ok(frame)
}

/// Copies the `len` bytes at `data` into the frame at `offset`, which is pinned and whose one writer the caller is, and
/// returns their checksum.
///
/// # Safety
///
/// `data` is valid for reads of `len` bytes, and as many are allocated at `offset`.
#[inline]
pub(crate) unsafe fn copy_frame_in(membership: &Membership, offset: u64, data: *const u8, len: usize) -> Checksum {
    let payload = membership.segment().payload(offset);
    // SAFETY: at least `len` bytes are allocated there and nobody else touches them: they are pinned and we are their
    // one writer (the ring's invariant). `data` is private memory, or a view or loan, which is another range of the
    // ring.
    unsafe { copy_in(data, payload, len, membership.segment().streaming()) }
}

/// Copies the frame that `guard` pins to `to` and verifies its checksum, if that is one of its bytes.
///
/// # Safety
///
/// `to` is valid for writes of `frame.size` bytes.
pub(crate) unsafe fn read_frame(
    membership: &Membership,
    guard: &PinGuard<'_>,
    frame: &Frame,
    checksummed: Checksummed,
    to: *mut u8,
) -> Result<(), Error> {
    let payload = membership.segment().payload(frame.offset);
    // SAFETY: the frame is committed and pinned, so nobody writes to its bytes (the ring's invariant), and they are
    // mapped, since it is not larger than the ring; the caller vouches for `to`.
    let found = unsafe { copy_out(payload, to, frame.size as usize, membership.segment().streaming()) };
    if checksummed == Checksummed::Bytes {
        verify_checksum(membership, guard, frame, found)?;
    } else if !guard.is_protected() {
        return Err(Error::ParticipantLost);
    }
    membership.ring().count(guard.slot(), Counter::FramesRead, 1);
    membership.ring().count(guard.slot(), Counter::BytesRead, frame.size);
    Ok(())
}

/// Compares the checksum found of a frame's bytes with the promised one.
pub(crate) fn verify_checksum(
    membership: &Membership,
    guard: &PinGuard<'_>,
    promised: &Frame,
    found: Checksum,
) -> Result<(), FrameBufferTimeout> {
    if found == promised.checksum {
        return Ok(());
    }
    let reason = TimeoutReason::ChecksumMismatch { promised: promised.checksum, found };
    membership.ring().count_timeout(guard.slot(), reason);
    Err(FrameBufferTimeout { offset: promised.offset, reason })
}

/// The time that frames are stamped with.
pub(crate) fn nanoseconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
