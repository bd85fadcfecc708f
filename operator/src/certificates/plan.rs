//! [`plan`]: the next step for the certificates at a given moment. Pure: the clock is an argument.

use jiff::{SignedDuration, Timestamp};

/// Certificates become valid this long before their creation: clocks differ.
pub const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// Lifetimes of certificates, and the delays of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Lifetime of a CA. It is replaced after two thirds.
    pub ca: SignedDuration,
    /// Lifetime of a serving certificate. It is replaced after two thirds.
    pub serving: SignedDuration,
    /// From a CA's creation to its first use: by then every API server trusts it.
    pub propagation: SignedDuration,
    /// From a CA's last use to its removal: by then no replica serves with a certificate of it.
    pub overlap: SignedDuration,
}

impl Lifetimes {
    /// Takes the lifetimes of the CA and of the serving certificate. The delays are a minute and an hour, or a tenth of
    /// the serving certificate's lifetime if that is less.
    pub fn new(ca: SignedDuration, serving: SignedDuration) -> Self {
        Self {
            ca,
            serving,
            propagation: SignedDuration::from_mins(1).min(serving / 10),
            overlap: SignedDuration::from_hours(1).min(serving / 10),
        }
    }
}

/// The content of a certificate, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Raw name of its subject.
    pub subject: Vec<u8>,
    /// Raw name of its issuer.
    pub issuer: Vec<u8>,
    /// DNS names for which it is valid.
    pub names: Vec<String>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
}

impl Certificate {
    fn created(&self) -> Timestamp {
        self.not_before + BACKDATE
    }

    /// When it is replaced: after two thirds of its lifetime.
    fn due(&self) -> Timestamp {
        self.created() + self.not_after.duration_since(self.created()) * 2 / 3
    }
}

/// The certificates in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// CAs, the newest first; the key is the newest one's.
    pub cas: Vec<Certificate>,
    /// The serving certificate.
    pub serving: Certificate,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Do nothing before that moment.
    Wait {
        /// When to look again.
        until: Timestamp,
    },
    /// Make a CA and a serving certificate: there is nothing usable.
    Create,
    /// Put a new CA in front of the others; keep serving with the old one's certificate.
    AddCa,
    /// Make a serving certificate with the newest CA.
    Issue,
    /// Remove every CA but the newest.
    Prune,
}

/// Decides the next step.
///
/// `facts` are `None` if there is no usable Secret; `trusted` says whether the API server has exactly these CAs;
/// `names` are the DNS names of the webhook's service.
pub fn plan(facts: Option<&Facts>, names: &[String], trusted: bool, lifetimes: &Lifetimes, now: Timestamp) -> Plan {
    let Some(Facts { cas, serving }) = facts else { return Plan::Create };
    let Some(newest) = cas.first().filter(|ca| now < ca.not_after) else { return Plan::Create };
    let issuer = cas.iter().find(|ca| ca.subject == serving.issuer);
    let usable = issuer.is_some_and(|ca| now < ca.not_after) && now < serving.not_after && serving.names == names;
    if !usable {
        // No client trusts the serving certificate: no reason to wait.
        return Plan::Issue;
    }
    if now >= newest.due() {
        return Plan::AddCa;
    }
    let by_newest = serving.issuer == newest.subject;
    let issue_at = if by_newest { serving.due() } else { newest.created() + lifetimes.propagation };
    if now >= issue_at {
        // A change of the bundle wakes the rotator; the minute is only for safety.
        return if trusted { Plan::Issue } else { Plan::Wait { until: now + SignedDuration::from_mins(1) } };
    }
    let until = issue_at.min(newest.due());
    if cas.len() == 1 || !by_newest {
        return Plan::Wait { until };
    }
    let prune_at = serving.created() + lifetimes.overlap;
    if now >= prune_at { Plan::Prune } else { Plan::Wait { until: until.min(prune_at) } }
}
