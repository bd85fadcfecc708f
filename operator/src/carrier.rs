//! [`Carrier`]: who brings what is rendered into pods. [`Readiness`]: whether it does.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::ValueEnum;

/// Who brings what is rendered into pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Carrier {
    /// The API server, by a `MutatingAdmissionPolicy`: see [`crate::policy`].
    Policy,
    /// The operator, when the API server asks: see [`crate::webhook`].
    Webhook,
}

impl Carrier {
    /// As flags and annotations have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Webhook => "webhook",
        }
    }
}

/// Whether labelled pods that are created now get the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All do.
    Ready,
    /// None does: the API server cannot reach the webhook with what it trusts, for this reason.
    WebhookNotReady(String),
    /// None does: the policy does not work, for this reason.
    PolicyNotReady(String),
    /// Those do that ask for a `FrameBuffer` of one of these names.
    Bound(Arc<Bound>),
}

/// For whom the policy works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// Names of `FrameBuffer`s.
    pub names: BTreeSet<String>,
    /// Why there are not more.
    pub failure: Option<String>,
}

impl Readiness {
    /// Reason and message if pods that ask for a `FrameBuffer` of this name don't get the ring.
    pub fn trouble(&self, name: &str) -> Option<(&'static str, String)> {
        const POLICY: &str = "PolicyNotReady";
        match self {
            Self::Ready => None,
            Self::WebhookNotReady(why) => Some(("WebhookNotReady", why.clone())),
            Self::PolicyNotReady(why) => Some((POLICY, why.clone())),
            Self::Bound(bound) if bound.names.contains(name) => None,
            Self::Bound(bound) => {
                let why = bound.failure.as_deref();
                let why =
                    why.unwrap_or("the API server is being told of the name: labelled pods are refused for a moment");
                Some((POLICY, why.to_owned()))
            }
        }
    }
}
