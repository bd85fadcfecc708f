//! [`Injector`]: which component injects labelled pods. [`Readiness`]: whether it works.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::ValueEnum;

/// The component that injects labelled pods; chosen by the flag `--injection-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Injector {
    /// The API server, by a `MutatingAdmissionPolicy`: see [`crate::policy`].
    Policy,
    /// The operator's admission webhook: see [`crate::webhook`].
    Webhook,
}

impl Injector {
    /// The value of the flag and of annotations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Webhook => "webhook",
        }
    }
}

/// Whether labelled pods created now get the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All of them do.
    Ready,
    /// None does: the API server cannot reach the webhook or does not trust it. The reason follows.
    WebhookNotReady(String),
    /// None does: the policy does not work. The reason follows.
    PolicyNotReady(String),
    /// Those do that ask for a `FrameBuffer` with one of these names.
    Bound(Arc<Bound>),
}

/// The names for which the policy works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// Names of `FrameBuffer`s.
    pub names: BTreeSet<String>,
    /// Why other names are not bound.
    pub failure: Option<String>,
    /// Names beyond the limit, which are not bound on purpose.
    pub beyond: BTreeSet<String>,
    /// The limit of names.
    pub limit: usize,
}

impl Bound {
    fn too_many(&self) -> String {
        let limit = self.limit;
        let names = limit + self.beyond.len();
        format!(
            "the cluster has {names} names of FrameBuffers, and the policy is bound to the {limit} oldest only, since \
             each costs every labelled pod time: labelled pods are refused until others are deleted, this FrameBuffer \
             takes a name that another namespace uses already, or the limit is raised (injection.maxNames of the chart)"
        )
    }
}

impl Readiness {
    /// Reason and message if pods that ask for a `FrameBuffer` of this name do not get the ring; `None` if they do.
    pub fn not_ready(&self, name: &str) -> Option<(&'static str, String)> {
        const POLICY: &str = "PolicyNotReady";
        match self {
            Self::Ready => None,
            Self::WebhookNotReady(why) => Some(("WebhookNotReady", why.clone())),
            Self::PolicyNotReady(why) => Some((POLICY, why.clone())),
            Self::Bound(bound) if bound.names.contains(name) => None,
            Self::Bound(bound) if bound.beyond.contains(name) => Some(("TooManyNames", bound.too_many())),
            Self::Bound(bound) => {
                let why = bound.failure.as_deref();
                let why = why.unwrap_or(
                    "the binding for this name is not in effect yet: labelled pods are refused for a moment",
                );
                Some((POLICY, why.to_owned()))
            }
        }
    }
}
