//! [`Pace`]: how many workloads roll at once because the operator has restarted them. An upgrade makes the pods of a
//! whole cluster outdated; without a pace all of them would be replaced in the same minute.
//!
//! A workload counts from its restart until its rollout is seen to be complete, or has made no progress for
//! [`DEADLINE`], whichever replica has restarted it: before a new leader restarts anything, [`super::survey`] counts
//! those that still roll.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;

use super::pods::Owner;
use super::workload::Workload;
use crate::api::FrameBuffer;

/// After so long without a further new pod a rollout counts as stuck, whatever the workload says.
pub(super) const DEADLINE: SignedDuration = SignedDuration::from_mins(15);

/// The most workloads that roll at once, by default.
const LIMIT: usize = 10;

/// The workloads that roll.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: usize,
    rolling: HashMap<Workload, Rolling>,
}

#[derive(Debug)]
struct Rolling {
    /// Since when so many of its pods are new.
    since: Timestamp,
    updated: i64,
    /// The owners of its pods that are known: `ReplicaSet`s, or the workload itself.
    owners: Vec<Owner>,
    framebuffer: ObjectRef<FrameBuffer>,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Pace {
    /// At most `limit` workloads at once.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, rolling: HashMap::new() }
    }

    pub(super) fn has_room(&self) -> bool {
        self.rolling.len() < self.limit
    }

    /// Whether this owner's workload rolls, or may.
    pub(super) fn has_room_for(&self, owner: &Owner) -> bool {
        self.has_room() || self.rolling.values().any(|rolling| rolling.owners.contains(owner))
    }

    pub(super) fn begin(
        &mut self,
        workload: Workload,
        owners: Vec<Owner>,
        framebuffer: ObjectRef<FrameBuffer>,
        since: Timestamp,
    ) {
        self.rolling.entry(workload).or_insert(Rolling { since, updated: 0, owners, framebuffer });
    }

    pub(super) fn end(&mut self, workload: &Workload) {
        self.rolling.remove(workload);
    }

    /// The workloads that roll for this `FrameBuffer`.
    pub(super) fn of(&self, framebuffer: &ObjectRef<FrameBuffer>) -> Vec<Workload> {
        let its = self.rolling.iter().filter(|(_, rolling)| rolling.framebuffer == *framebuffer);
        its.map(|(workload, _)| workload.clone()).collect()
    }

    /// Whether a workload makes no progress, now that so many of its pods are new; `None` if that is not known.
    pub(super) fn is_stuck(&mut self, workload: &Workload, updated: Option<i64>, now: Timestamp) -> bool {
        let Some(rolling) = self.rolling.get_mut(workload) else { return false };
        if updated.is_some_and(|updated| updated != rolling.updated) {
            (rolling.since, rolling.updated) = (now, updated.unwrap_or_default());
        }
        now.duration_since(rolling.since) > DEADLINE
    }

    /// Forgets the workloads of `FrameBuffer`s that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&ObjectRef<FrameBuffer>) -> bool) {
        self.rolling.retain(|_, rolling| keep(&rolling.framebuffer));
    }
}
