//! [`decide`]: the next action on a lease. Pure: the clock is an argument.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;

use crate::injector::Injector;

pub(super) use k8s_openapi::api::coordination::v1::Lease;

/// When the lease last changed, on this replica's own clock.
#[derive(Debug, Default)]
pub(super) struct Observed {
    version: Option<String>,
    since: Option<Instant>,
}

impl Observed {
    /// How long the lease has not changed.
    pub(super) fn age(&mut self, lease: Option<&Lease>, now: Instant) -> Duration {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        match self.since {
            Some(since) if version == self.version => now.duration_since(since),
            _ => {
                (self.version, self.since) = (version, Some(now));
                Duration::ZERO
            }
        }
    }
}

/// The next action on a lease.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Another holds it.
    Wait,
    /// There is none.
    Create(Lease),
    /// It is this replica's, or free. Its resource version makes the loser of a race fail.
    Replace(Lease),
}

/// Annotation of the lease: the injection mode of its holder.
const INJECTION_MODE_ANNOTATION: &str = "framebuffer.dev/injection-mode";

/// A replica that wants the lease.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) injector: Injector,
}

/// Decides for `me` about a lease that has not changed for `age`.
///
/// A replica in webhook mode needs a leader's certificates to become ready, and a leader in policy mode would lead
/// until then: it is deposed. It notices when it renews; until then both write the same statuses.
pub(super) fn decide(
    lease: Option<Lease>,
    age: Duration,
    me: &Candidate,
    duration: Duration,
    now: Timestamp,
) -> Action {
    let Candidate { name: me, injector } = me;
    let mut annotations = lease.as_ref().and_then(|lease| lease.metadata.annotations.clone()).unwrap_or_default();
    annotations.insert(INJECTION_MODE_ANNOTATION.to_owned(), injector.as_str().to_owned());
    let Some(mut lease) = lease else {
        let metadata = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        return Action::Create(Lease { metadata, spec: Some(held(None, me, duration, now)) });
    };
    let theirs = lease.metadata.annotations.as_ref().and_then(|all| all.get(INJECTION_MODE_ANNOTATION));
    let deposed = *injector == Injector::Webhook && theirs.is_some_and(|theirs| theirs == Injector::Policy.as_str());
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    // The duration in the lease, if it is longer than ours.
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    let promised = seconds.map_or(duration, Duration::from_secs).max(duration);
    if !holder.is_empty() && holder != me && age < promised && !deposed {
        return Action::Wait;
    }
    lease.spec = Some(held(lease.spec.as_ref(), me, duration, now));
    lease.metadata.annotations = Some(annotations);
    Action::Replace(lease)
}

fn held(before: Option<&LeaseSpec>, me: &str, duration: Duration, now: Timestamp) -> LeaseSpec {
    let before = before.cloned().unwrap_or_default();
    let mine = before.holder_identity.as_deref() == Some(me);
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
        acquire_time: if mine { before.acquire_time } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!mine)),
        ..LeaseSpec::default()
    }
}

/// What can be done with a lease.
pub(super) trait LeaseExt: Sized {
    fn named(self, name: &str) -> Self;
    /// Without a holder; `None` if somebody else holds it.
    fn released(self, me: &str) -> Option<Self>;
}

impl LeaseExt for Lease {
    fn named(mut self, name: &str) -> Self {
        self.metadata.name = Some(name.to_owned());
        self
    }

    fn released(self, me: &str) -> Option<Self> {
        let spec = self.spec.filter(|spec| spec.holder_identity.as_deref() == Some(me))?;
        let spec = LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), ..spec };
        Some(Self { spec: Some(spec), metadata: self.metadata })
    }
}
