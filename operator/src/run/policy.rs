//! The parts of a replica when the API server injects by itself: it makes the bindings that are missing when it starts, and the
//! leader keeps them. It serves nothing, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Shared;
use crate::carrier::Readiness;
use crate::policy::bindings::Bindings;
use crate::policy::keeper::{Keeper, make_missing};

pub(super) struct Part {
    shared: Arc<Shared>,
    bindings: Bindings,
    /// Set once every name has been bound.
    bound: AtomicBool,
}

impl Part {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let bindings = Bindings::new(&shared.client, &shared.args.policy_name);
        Self { shared: Arc::clone(shared), bindings, bound: AtomicBool::default() }
    }

    /// Every replica's.
    pub(super) async fn work(&self, closing: &CancellationToken) -> anyhow::Result<()> {
        if closing.run_until_cancelled(make_missing(&self.bindings, &self.shared.store)).await.is_some() {
            self.bound.store(true, Ordering::Relaxed);
            info!("all names are bound");
        }
        closing.cancelled().await;
        Ok(())
    }

    pub(super) fn ready(&self) -> Result<(), &'static str> {
        let bound = self.bound.load(Ordering::Relaxed);
        if bound { Ok(()) } else { Err("the API server does not know all FrameBuffers' names yet") }
    }

    /// The leader's.
    pub(super) async fn keep(&self, report: watch::Sender<Option<Readiness>>) {
        let Shared { store, changed, .. } = &*self.shared;
        Keeper::new(self.bindings.clone(), store.clone(), changed.subscribe(), report).run().await;
    }
}
