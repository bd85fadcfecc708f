//! [`PolicyRole`]: a replica while the API server injects. It creates missing bindings when it starts, and the leader
//! reconciles them; if the chart makes the bindings, the leader only reports which names they serve. It serves nothing,
//! and no pod waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Shared;
use crate::injector::Readiness;
use crate::policy::bindings::Bindings;
use crate::policy::reconciler::{BindingReconciler, create_missing};

pub(super) struct PolicyRole {
    shared: Arc<Shared>,
    bindings: Bindings,
    /// Set once every name has been bound.
    bound: AtomicBool,
}

impl PolicyRole {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let bindings = Bindings::new(&shared.client, &shared.args.policy_name);
        Self { shared: Arc::clone(shared), bindings, bound: AtomicBool::default() }
    }

    /// The work of every replica.
    pub(super) async fn work(&self, closing: &CancellationToken) -> anyhow::Result<()> {
        let bind = async {
            if !self.shared.args.static_bindings {
                create_missing(&self.bindings, &self.shared.store, self.shared.args.max_names).await;
            }
        };
        if closing.run_until_cancelled(bind).await.is_some() {
            self.bound.store(true, Ordering::Relaxed);
            info!("all names are bound");
        }
        closing.cancelled().await;
        Ok(())
    }

    pub(super) fn ready(&self) -> Result<(), &'static str> {
        let bound = self.bound.load(Ordering::Relaxed);
        if bound { Ok(()) } else { Err("not all names of FrameBuffers are bound yet") }
    }

    /// The work of the leader.
    pub(super) async fn lead(&self, report: watch::Sender<Option<Readiness>>) {
        let Shared { args, store, changed, .. } = &*self.shared;
        let (bindings, changed) = (self.bindings.clone(), changed.subscribe());
        let reconciler = BindingReconciler::new(bindings, store.clone(), changed, report, args.max_names);
        if args.static_bindings { reconciler.only_looking().run().await } else { reconciler.run().await }
    }
}
