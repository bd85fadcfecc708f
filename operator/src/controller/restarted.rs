//! [`Restarted`]: a cache, so that each owner is looked up once for each change, and while it rolls. The annotations of
//! the templates are authoritative; this only saves requests.

use std::collections::HashMap;

use kube::runtime::reflector::ObjectRef;

use super::pods::Owner;
use super::workload::Workload;
use crate::api::FrameBuffer;

/// The owners of each `FrameBuffer`'s pods, for its last change.
#[derive(Debug, Default)]
pub(crate) struct Restarted(HashMap<ObjectRef<FrameBuffer>, (String, Fates)>);

/// The fates of owners, for one change. `None` stands for pods without an owner.
pub(super) type Fates = HashMap<Option<Owner>, Fate>;

/// What became of an owner. Texts begin with its title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has been restarted for this change, and still rolls.
    Rolling(Workload),
    /// It has been restarted for this change, now or earlier, as far as the operator is concerned.
    Restarted(String),
    /// It was restarted, and its rollout does not end.
    Stuck(String),
    /// It was restarted, and somebody has taken the restart back.
    Reverted(String),
    /// It is set not to replace its pods; the text says how, and what to do.
    Held(String),
    /// The operator cannot restart it.
    Unsupported(String),
}

impl Restarted {
    /// The fates for a change; those of an earlier one are forgotten.
    pub(super) fn of(&mut self, key: &ObjectRef<FrameBuffer>, change: &str) -> &mut Fates {
        let (known, fates) = self.0.entry(key.clone()).or_default();
        if known != change {
            change.clone_into(known);
            fates.clear();
        }
        fates
    }

    /// Changes the fate of a workload that rolls.
    pub(super) fn rolled(&mut self, key: &ObjectRef<FrameBuffer>, workload: &Workload, fate: &Fate) {
        let fates = self.0.get_mut(key).into_iter().flat_map(|(_, fates)| fates.values_mut());
        for rolling in fates.filter(|known| matches!(known, Fate::Rolling(rolling) if rolling == workload)) {
            *rolling = fate.clone();
        }
    }

    /// Forgets those that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&ObjectRef<FrameBuffer>) -> bool) {
        self.0.retain(|key, _| keep(key));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
