//! [`Context`]: shared by all reconciliations.

use std::sync::{Arc, Mutex};

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;

use super::pace::Pace;
use super::pods::PodIndex;
use super::replicas::Replicas;
use super::restarted::Restarted;
use super::written::Written;
use crate::MANAGER;
use crate::api::FrameBuffer;
use crate::injector::Readiness;
use crate::metrics::Metrics;
use crate::render::Settings;

/// Shared by all reconciliations.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) pods: Mutex<PodIndex>,
    /// The injector's; `None` until it is known for the first time.
    pub(crate) readiness: watch::Receiver<Option<Readiness>>,
    pub(crate) recorder: Recorder,
    pub(super) restarted: Mutex<Restarted>,
    pub(super) written: Mutex<Written>,
    pub(super) pace: Mutex<Pace>,
    /// Whether what rolled already when this replica became the leader is counted in `pace`.
    pub(super) surveyed: tokio::sync::Mutex<bool>,
    /// The operator's own pods; `None` if it runs elsewhere.
    pub(super) replicas: Option<Replicas>,
    /// Whether the operator may restart anything.
    pub(crate) may_restart: bool,
    pub(crate) metrics: Arc<Metrics>,
}

impl Context {
    /// A context in which no pod is counted yet, and owners may be restarted.
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        identity: &str,
        readiness: watch::Receiver<Option<Readiness>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            settings,
            pods: Mutex::default(),
            readiness,
            restarted: Mutex::default(),
            written: Mutex::default(),
            pace: Mutex::default(),
            surveyed: tokio::sync::Mutex::default(),
            replicas: None,
            may_restart: true,
            metrics,
        }
    }

    /// The same, beside other replicas in pods of this namespace, and with this pace of restarts.
    pub(crate) fn among(mut self, namespace: &str, pod: &str, max_restarts: u16) -> Self {
        self.replicas = Some(Replicas::new(self.client.clone(), namespace, pod));
        self.pace = Mutex::new(Pace::new(usize::from(max_restarts)));
        self
    }

    /// Forgets what is kept about `FrameBuffer`s that are gone. Their pods stay counted until they go themselves: a
    /// `FrameBuffer` may be created again under its name.
    pub(super) fn forget(&self, gone: impl Fn(&ObjectRef<FrameBuffer>) -> bool) {
        self.restarted.lock().expect("nobody panics with this lock").retain(|key| !gone(key));
        self.written.lock().expect("nobody panics with this lock").retain(|key| !gone(key));
        self.pace.lock().expect("nobody panics with this lock").retain(|key| !gone(key));
    }
}
