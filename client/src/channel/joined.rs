//! [`Joined`]: a channel of the ring that a client is in, as one publisher or subscriber has it.

use std::sync::atomic::Ordering;

use super::cursors::{Cursor, Cursors};
use super::directory::{Directory, Name};
use super::index::Index;
use crate::attachments::Role;
use crate::client::FrameBufferClient;
use crate::error::Error;
use crate::error::channel::ChannelError;
use crate::layout::{ChannelWords, PARTICIPANTS};
use crate::membership::Membership;
use crate::os::futex;
use crate::ring::RingMemory;
use crate::ring::participants::SlotClaim;
use crate::slots::{Attachment, ClaimedSlots};

/// A channel, and the part in its ring that this process has. Another one once the client is in another ring, or has
/// another slot (after a fork, or once it was taken for dead).
pub(super) struct Joined<'c> {
    membership: &'c Membership,
    slots: &'c ClaimedSlots,
    words: &'c ChannelWords,
    index: Index<'c>,
    place: usize,
    _attachment: Attachment<'c>,
}

impl<'c> Joined<'c> {
    /// Joins the channel with this name, which is made if there is none.
    pub(super) fn new(client: &'c FrameBufferClient, name: &Name, role: Role) -> Result<Self, Error> {
        let membership = client.membership()?;
        let slots = membership.slots()?;
        let segment = membership.segment();
        let place = Directory { channels: segment.channels() }
            .open(name)
            .map_err(|_| ChannelError::TooManyChannels { name: name.as_str() })?;
        let words = &segment.channels()[place];
        let index = Index::of(words, segment.index(place));
        let attachment = slots.attach(membership.ring(), role, place);
        Ok(Self { membership, slots, words, index, place, _attachment: attachment })
    }

    /// Whether the client still is in this ring, with this slot.
    #[inline]
    pub(super) fn is_current(&self, client: &FrameBufferClient) -> Result<bool, Error> {
        let slots = client.membership()?.slots()?;
        Ok(std::ptr::eq(slots, self.slots) && self.membership.ring().has_slot(slots.first()))
    }

    /// Whether this process has joined, and not the parent that it was forked from.
    pub(super) fn is_own(&self) -> bool {
        self.slots.are_own()
    }

    #[inline]
    pub(super) fn membership(&self) -> &'c Membership {
        self.membership
    }

    #[inline]
    pub(super) fn words(&self) -> &'c ChannelWords {
        self.words
    }

    #[inline]
    pub(super) fn index(&self) -> Index<'c> {
        self.index
    }

    /// The channel's place in the directory.
    #[inline]
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The cursors of its lossless subscribers.
    #[inline]
    pub(super) fn cursors(&self) -> Cursors<'c> {
        Cursors::of(self.words)
    }

    /// Notes a further role of this process in the channel.
    pub(super) fn attach(&self, role: Role) -> Attachment<'c> {
        self.slots.attach(self.membership.ring(), role, self.place)
    }

    /// This process as the holder of a cursor.
    pub(super) fn holder(&self) -> u64 {
        holder(self.slots.first())
    }

    /// Whether the holder of a cursor is no participant any more, or dead.
    pub(super) fn is_gone(&self, of_cursor: u64) -> bool {
        let ring = self.membership.ring();
        let Some(claim) = participant(of_cursor).map(|slot| ring.claim(slot)) else { return true };
        if holder(claim) != of_cursor {
            return true;
        }
        ring.reap(claim.slot, self.slots.probe());
        !ring.has_slot(claim)
    }

    /// A lossless subscriber that lives and holds up a publisher which keeps `keep` frames, if it appends this number.
    /// Frees the places of the dead.
    #[inline]
    pub(super) fn held_up_by(&self, number: u64, keep: u64) -> Option<Cursor> {
        loop {
            let cursor = self.cursors().behind(number, keep)?;
            if !self.is_gone(cursor.holder) {
                return Some(cursor);
            }
            if self.cursors().end(cursor.place, cursor.holder) {
                futex::wake_all(&self.words.missed.moves);
            }
        }
    }

    /// Whether a living participant has this role in the channel.
    pub(super) fn has(&self, role: Role) -> bool {
        let ring = self.membership.ring();
        ring.taken().any(|claim| {
            let is_attached = || {
                let words = &ring.memory().slot(claim.slot).attached;
                role.word(words).load(Ordering::Acquire) & 1 << self.place != 0
            };
            is_attached() && {
                ring.reap(claim.slot, self.slots.probe());
                ring.has_slot(claim) && is_attached()
            }
        })
    }
}

/// A participant as the holder of a cursor.
pub(super) fn holder(SlotClaim { slot, incarnation }: SlotClaim) -> u64 {
    (slot as u64 + 1) | incarnation << 16
}

/// The slot of the holder of a cursor. `None` if a program has scribbled there.
pub(super) fn participant(holder: u64) -> Option<usize> {
    ((holder & 0xffff) as usize).checked_sub(1).filter(|slot| *slot < PARTICIPANTS)
}
