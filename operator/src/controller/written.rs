//! [`Written`]: the statuses that this leader wrote, to recognise its own writes and those of others.
//!
//! # Guarantees
//!
//! - A status that somebody else changed is put back at once, with the times that it had.
//! - Somebody who keeps changing it cannot make the operator write more often than once a minute in the long run:
//!   each repair waits twice as long as the one before, until there was none for [`CALM`].
//! - What is kept about a `FrameBuffer` goes with it; one that is created again under its name starts afresh.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;

use super::watched::{Dated, Digest, Watched};
use crate::api::FrameBuffer;

/// Delay of the second repair of a status; the first has none.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The longest delay of a repair.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// After so long without a repair, the next has no delay again.
const CALM: SignedDuration = SignedDuration::from_mins(10);

/// How many resource versions are kept: a watch that lags behind by more writes is a rare one, and costs a repair.
const OVER: usize = 8;

/// The statuses that this leader wrote.
#[derive(Debug, Default)]
pub(crate) struct Written(HashMap<ObjectRef<FrameBuffer>, Last>);

/// The last status of one `FrameBuffer`.
#[derive(Debug)]
struct Last {
    uid: Option<String>,
    generation: Option<i64>,
    digest: Digest,
    dated: Dated,
    /// The resource versions that it took the place of, one after the other: the one that the watch showed, and those
    /// of earlier statuses of this leader. While the watch shows one of them, it has not shown the last write yet.
    over: Vec<String>,
    /// Its own resource version.
    version: Option<String>,
    repairs: u32,
    repaired: Timestamp,
}

/// What to do about a status that differs from the one that was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// Write it: what was built has changed.
    Write,
    /// Write it: somebody else has changed the status.
    Repair,
    /// Somebody else has changed it again: write it after this delay.
    Wait(Duration),
    /// It is written; the watch has yet to show it.
    Done,
}

impl Written {
    /// What the last status dated: the one that was written, not what somebody else made of it.
    pub(super) fn dated(&self, watched: &Watched, now: Timestamp) -> Dated {
        let known = self.last(watched).map(|last| last.dated.clone());
        let shown = || watched.shown.as_ref().map(|shown| shown.dated.clone());
        known.or_else(shown).unwrap_or_default().until(now)
    }

    /// Whether the object shows exactly the last status, for the spec that it was made for.
    pub(super) fn is_shown_by(&self, watched: &Watched) -> bool {
        let shown = watched.shown.as_ref().map(|shown| shown.digest);
        self.is_for(watched) && self.last(watched).is_some_and(|last| Some(last.digest) == shown)
    }

    /// Whether a status was written for this very spec.
    pub(super) fn is_for(&self, watched: &Watched) -> bool {
        self.last(watched).is_some_and(|last| last.generation == watched.framebuffer.metadata.generation)
    }

    /// Decides about a status that the object does not show.
    pub(super) fn permit(&self, watched: &Watched, built: Digest, now: Timestamp) -> Permit {
        let Some(last) = self.last(watched).filter(|last| last.digest == built) else { return Permit::Write };
        if watched.framebuffer.metadata.resource_version.as_ref().is_some_and(|version| last.over.contains(version)) {
            return Permit::Done;
        }
        let repairs = last.repairs_at(now);
        let waited = now.duration_since(last.repaired).unsigned_abs();
        let left = delay(repairs).saturating_sub(waited);
        if repairs == 0 || left.is_zero() { Permit::Repair } else { Permit::Wait(left) }
    }

    /// Remembers a status that the object shows.
    pub(super) fn found(&mut self, watched: &Watched, digest: Digest, dated: Dated) {
        self.remember(watched, digest, dated, Vec::new(), None);
    }

    /// Remembers a status that was written, and the resource version that it got.
    pub(super) fn wrote(&mut self, watched: &Watched, digest: Digest, dated: Dated, version: Option<String>) {
        let shown = watched.framebuffer.metadata.resource_version.clone();
        let earlier = self.last(watched).into_iter().flat_map(|last| last.over.iter().chain(&last.version)).cloned();
        let mut over: Vec<String> = earlier.chain(shown).collect();
        over.drain(..over.len().saturating_sub(OVER));
        self.remember(watched, digest, dated, over, version);
    }

    /// Counts a repair. Returns how many there were in a row.
    pub(super) fn repaired(&mut self, watched: &Watched, now: Timestamp) -> u32 {
        let Some(last) = self.0.get_mut(&watched.key()) else { return 0 };
        last.repairs = last.repairs_at(now).saturating_add(1);
        last.repaired = now;
        last.repairs
    }

    /// Forgets those that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&ObjectRef<FrameBuffer>) -> bool) {
        self.0.retain(|key, _| keep(key));
    }

    fn last(&self, watched: &Watched) -> Option<&Last> {
        self.0.get(&watched.key()).filter(|last| last.uid == watched.framebuffer.metadata.uid)
    }

    fn remember(
        &mut self,
        watched: &Watched,
        digest: Digest,
        dated: Dated,
        over: Vec<String>,
        version: Option<String>,
    ) {
        let metadata = &watched.framebuffer.metadata;
        let (repairs, repaired) =
            self.last(watched).map_or_else(Default::default, |last| (last.repairs, last.repaired));
        let (uid, generation) = (metadata.uid.clone(), metadata.generation);
        self.0.insert(watched.key(), Last { uid, generation, digest, dated, over, version, repairs, repaired });
    }
}

impl Last {
    fn repairs_at(&self, now: Timestamp) -> u32 {
        if now.duration_since(self.repaired) > CALM { 0 } else { self.repairs }
    }
}

/// The delay after so many repairs in a row.
fn delay(repairs: u32) -> Duration {
    let doubled = repairs.checked_sub(1).map_or(0, |power| 1 << power.min(16));
    (FIRST_DELAY * doubled).min(LONGEST_DELAY)
}
