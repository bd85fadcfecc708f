//! [`Restarted`]: a cache, so that each owner is looked up once for each change. The annotations of the templates are
//! authoritative; this only saves requests.

use std::collections::HashMap;

use kube::runtime::reflector::ObjectRef;

use super::pods::Owner;
use crate::api::FrameBuffer;

/// The owners of each `FrameBuffer`'s pods, for its last change.
#[derive(Debug, Default)]
pub(crate) struct Restarted(HashMap<ObjectRef<FrameBuffer>, (String, Fates)>);

/// The fates of owners, for one change. `None` stands for pods without an owner.
pub(super) type Fates = HashMap<Option<Owner>, Fate>;

/// What became of an owner, with its title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its template says that it was restarted for this change earlier.
    Restarted(String),
    /// It was restarted now.
    JustRestarted(String),
    /// The operator cannot restart it.
    Unsupported(String),
}

impl Restarted {
    /// The fates for the change to `hash`; those of an earlier change are forgotten.
    pub(super) fn of(&mut self, key: &ObjectRef<FrameBuffer>, hash: &str) -> &mut Fates {
        let (known, fates) = self.0.entry(key.clone()).or_default();
        if known != hash {
            hash.clone_into(known);
            fates.clear();
        }
        fates
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
