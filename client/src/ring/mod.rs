//! The ring: the protocol by which processes that may stall or die at any instruction share memory without locks and
//! without wrong bytes.
//!
//! Read [`crate::layout`] first, for the bytes, then this, then [`pin`], [`allocate`], [`detour`], [`frame`],
//! [`participants`], and `peek` (looking from outside). The code is generic over [`RingMemory`]: it runs in a mapped
//! segment, and in `models` under loom.
//!
//! # Words
//!
//! The *stream* is everything ever allocated, one frame after the other; a *position* or *offset* counts its bytes from
//! 0 and never repeats. Position `p` lies at byte `p % capacity` of the ring, so a *lap* later another frame lies
//! there. The *head* is the position up to which the stream is allocated. A *participant* is a process (or a part of
//! one) with a *slot* in the segment; it holds the lock of the slot's *life* for as long as it lives, and nobody else
//! ever takes that lock. The slot's *incarnation* grows by one when a participant gets the slot and when it gives it up
//! or is declared dead: so it is odd while there is one. A *pin* is a range of positions in a slot: bytes that somebody
//! is using.
//!
//! # Invariant
//!
//! > The bytes of a frame, header included, are touched only while the toucher has a pin on them and has seen, after
//! > announcing the pin, that the ring has not moved past them: `start + capacity >= head`.
//!
//! Headers consist of atomics, so looking at one that turns out to be another's is harmless. Payload is plain memory,
//! and every `&[u8]` and `&mut [u8]` of this crate into it rests on this invariant.
//!
//! # Operations
//!
//! - **pin** ([`pin::Pin::protect`]): take a free pin of my slot, store its range, `fence(SeqCst)`, load `head`. Behind
//!   it: release the pin, the frame is gone. **Unpin**: store `FREE`, clear the bit, both Release.
//! - **allocate** ([`Ring::allocate`]): look for a range at or after `head` that no pin is in the way of. Announce it
//!   as my pin. Move `head` to its end by compare-and-swap; if somebody else moved it, begin again. `fence(SeqCst)`.
//!   Look at all pins once more: if one has come in the way, leave the range to it and begin again behind it. Otherwise
//!   the range is mine: write the header. Where the ring has a window ([`crate::window`]), look there first: what is
//!   left of it in this lap, then in the next one, whose first byte is less than a lap away. Before it goes around a
//!   pin, it may ask whether the participant lives, and before it gives up it asks that of all that are in the way.
//! - **write**: pin; the header must name this offset; state `RESERVED -> WRITING` by compare-and-swap, so a frame has
//!   one writer; copy; length and checksum; state `COMMITTED` (Release), or `COMMITTED_UNHASHED`. It never changes
//!   again. *publish* and *loan* allocate in state `WRITING` and keep the pin of the allocation.
//! - **read**, **view**: pin; the header must name this offset; state is one of the two (Acquire); length and checksum
//!   are those promised. Copy and hash, or hand out the slice together with the pin.
//! - **receive** ([`Ring::begin_receive`]): as view, of a frame that the index of its channel names by its beginning:
//!   the size is not known before the header is pinned, so pin as much as the last frame had, and if this one is
//!   larger, move the pin's end on, `fence(SeqCst)`, load `head` once more.
//! - **share** ([`pin::Pin::share`]): receive, read or view a frame that the head has moved past and its sender still
//!   keeps: pin it, `fence(SeqCst)`, and see that the sender still has its pin.
//! - **declare dead** ([`Ring::reap`]): see an odd incarnation, then see the life's lock free (`F_OFD_GETLK`, which
//!   takes no lock), then move the incarnation on by compare-and-swap. Pins of an even incarnation do not count.
//! - **enroll**: take the life's lock; take the slot's second lock, for repair; with both, free the pins, make the
//!   incarnation odd, set the bit in `enrolled`. If somebody else has the second lock, give up the first: another slot
//!   will do.
//! - **withdraw**: move the incarnation on; then release the life's lock.
//! - **tidy**, after declaring dead and withdrawing: with the second lock, if the incarnation is even, clear the bit in
//!   `enrolled`. The bit only tells whom to look at: a slot that nobody tidied costs a look, and nothing else.
//!
//! # Why two never touch the same bytes, one of them writing
//!
//! Take an allocation A that moves the head from `h` to `e`, and anybody P with a valid pin on an older frame that lies
//! on the same bytes. P's frame ends at `h` or before (it was allocated), and overlapping means `e > start + capacity`.
//!
//! P runs *store pin, fence, load head*; A runs *move head, fence, load pins*. (SYNC POINT "pin and head".) Two SeqCst
//! fences have an order:
//! - P's first: A sees the pin, in its second look, and leaves the bytes alone;
//! - A's first: P sees a head of at least `e`, which is past `start + capacity`, and does not touch them.
//!
//! *Two allocations* never share stream positions: each moved the head. If they share bytes, one is a lap ahead. The
//! earlier announced its pin before it moved the head (Release), the later has seen that head or a later one (Acquire),
//! so it sees the pin if it is still in use: the earlier counts as P. So an allocation that is stalled after it moved
//! the head, for however many laps, still owns its bytes when it wakes, and writes its header where nobody else is.
//!
//! *Half a pin.* A pin is two words, and another may see one old and one new. That is seen only while P stores it,
//! before P's fence. If A misses the pin because of it, A has read before P's fence, so A's fence is the first, and P
//! gives up. If A sees something where nothing is, A goes around it, which costs room and nothing else. The words of a
//! pin in use do not change.
//!
//! *A pin whose end moves on* covers what it covered, whichever end A sees; for the rest, P's second fence and second
//! look at the head count as P's.
//!
//! *A pin that is handed over.* P receives a frame that the head has moved past, which another, K, has pinned since its
//! allocation. A looks at all pins twice: before it moves the head (then K's pin was gone, or A would be elsewhere) and
//! after its fence. (SYNC POINT "handover".) If A's fence is the first, P sees K's pin gone, as A did, and gives up; if
//! P's is, A sees P's pin in its second look. K's pin says that it vouches for the frame. Those of others who come late
//! do not, or two that find a frame gone could take each other's pins for proof that it is there.
//!
//! *Pins beyond the head.* A range that is in use ends at the head of its time, so at `h` at most. A pin that ends
//! later belongs to an allocation that has yet to move the head, and will fail since A did; or it is a torn one. A
//! ignores it.
//!
//! *Who is declared dead is dead.* A participant of incarnation `i` takes its life's lock before the incarnation
//! becomes `i`. So whoever sees `i`, and after that the lock free, knows that it has died or withdrawn; if the slot has
//! a next participant by then, the incarnation is another, and the compare-and-swap fails. And nobody is taken for
//! alive because somebody looks: looking takes no lock.
//!
//! *A newcomer's pins count.* It makes the incarnation odd and sets its bit before it pins anything, so before its
//! fence, and an allocation that must see the pin sees both. Nobody clears the bit then: whoever tidies holds the
//! second lock, and under it sees either an even incarnation, and the newcomer, who needs that lock, has yet to begin;
//! or an odd one.
//!
//! *Who has no pin is passed over.* The words that say which pins are taken, `active`, lie side by side. A looks at
//! them first, and at the incarnation and the pins only where one is taken. P takes its pin before it stores it, so
//! before its fence, and an allocation that must see the pin sees that it is taken. Of those pins A passes over all
//! that begin less than a lap before its own end: it shares no bytes with them, wherever they end.
//!
//! *Give and take of bytes.* Everything P did with the bytes happens before the pin's release (Release); A finds it
//! released (Acquire) before it writes, or the slot cleared (Release) by one who has seen P's incarnation end. A new
//! user of the same pin takes it by Acquire, so whoever sees the new user's words also sees that the old one is done.
//!
//! # Why nothing stops it
//!
//! - *Stall.* Nobody ever waits for another. A compare-and-swap fails only because another allocation succeeded. A pin
//!   held for long makes the ring smaller by its range; with no room in a whole lap, allocation says so (`Exhausted`),
//!   and since it looks before it moves the head, no frame is lost by the attempt.
//! - *Death.* A process that dies holds its pins until somebody looks at its lock, which the kernel has released:
//!   whoever meets one of its pins, or the server once a second. A frame whose writer died is never committed. Head and
//!   headers need no repair: each step leaves them valid.
//! - *Death or stall while reaping.* Declaring dead is one step. Whoever dies while tidying loses the second lock, and
//!   the slot is tidied later; whoever is stopped there keeps newcomers out of that one slot, and nobody waits for it.
//! - *Crowds.* An allocation with nothing in its way looks at each pin once before the head moves and once after. With
//!   `n` pins in the way it takes `n log n` steps ([`detour`]), and asks about each slot at most twice.
//!
//! # Where this differs from the textbook
//!
//! Hazard pointers protect objects, here they protect byte ranges of a ring; a seqlock would let readers race with a
//! writer and throw the result away, which a `&[u8]` does not allow. Leases by time would kill the slow; heartbeats,
//! the stopped.
//!
//! # Promises
//!
//! To programs that use this crate: all of the above. **What remains when a program scribbles on the segment** (it may:
//! it can write to it): nobody else reads or writes out of bounds, since every length and position that is read is
//! checked against or taken modulo the sizes known from opening; nobody crashes or hangs. But frames may be lost,
//! traffic may stop, and bytes may change under a view, which is then a data race:
//! [`View::verify`](crate::View::verify), or reading with a copy, compares with the checksum that the writer sent.
//! Programs that do not trust each other should not share a ring. Truncating the file makes the others' accesses fail
//! with SIGBUS; the file's mode says who can.
//!
//! **What remains when a program closes file descriptors that it does not own** (a daemon's `closefrom`): the locks of
//! its participants are free, and they may be declared dead while they live. From then on others may write where it has
//! pins. It notices: a commit is refused, a view says that it is unprotected, and the next operation joins again or
//! says why not (`ParticipantLost`). What it writes into a loan between the loss and the commit hits frames of others,
//! whose readers notice by the checksum; and in the instant between looking at the incarnation and acting on it, a
//! commit or the release of a pin can hit the slot's or the bytes' next user.
//!
//! # Evidence
//!
//! `models` runs this code under loom; property tests compare it with a naive model; processes that are killed and
//! stopped at random, ThreadSanitizer, AddressSanitizer and a fuzzer that scribbles on the control block run against
//! the whole.

pub(crate) mod allocate;
mod detour;
pub(crate) mod frame;
#[cfg(test)]
mod heap;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod participants;
#[cfg(not(loom))]
pub(crate) mod peek;
pub(crate) mod pin;

use crate::frame::RingId;
use crate::layout::{ActiveLine, DescriptorWords, FrameHeader, Slot};
use crate::sync::AtomicU64;

/// The memory that the protocol needs: a mapped segment, or the heap that the loom models run on.
pub(crate) trait RingMemory {
    /// The ring's identity.
    fn id(&self) -> RingId;
    /// Size of the largest frame in bytes.
    fn size(&self) -> u64;
    /// Bytes of the data ring, a multiple of 64.
    fn capacity(&self) -> u64;
    /// How many bytes of each lap an allocation of `length` bytes prefers, the first ones: all, or fewer. Remembers the
    /// length: see [`crate::window`].
    fn window_for(&self, length: u64) -> u64;
    /// Stream position up to which the ring is allocated.
    fn head(&self) -> &AtomicU64;
    /// Word number `word` of the bitmap of slots in use.
    fn enrolled(&self, word: usize) -> &AtomicU64;
    /// Line number `line` of the active pins, below `ACTIVE_LINES`.
    fn active(&self, line: usize) -> &ActiveLine;
    /// Slot number `index`, below `PARTICIPANTS`.
    fn slot(&self, index: usize) -> &Slot;
    /// The frame header at this stream position, a multiple of 64.
    fn header(&self, position: u64) -> &FrameHeader;
    /// The descriptor at this stream position, a multiple of 64.
    fn descriptor(&self, position: u64) -> &DescriptorWords;
}

/// The protocol over some memory.
pub(crate) struct Ring<M> {
    memory: M,
}

impl<M: RingMemory> Ring<M> {
    pub(crate) fn new(memory: M) -> Self {
        Self { memory }
    }

    #[inline]
    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }
}
