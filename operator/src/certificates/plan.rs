//! [`plan`]: what is to be done about the certificates at a given moment. Pure: the clock is an argument.

use jiff::{SignedDuration, Timestamp};

/// Certificates are valid from a little earlier on: clocks differ.
pub const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// How long things last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Life of a CA. It is replaced after two thirds.
    pub ca: SignedDuration,
    /// Life of a serving certificate. It is replaced after two thirds.
    pub serving: SignedDuration,
    /// From a CA's creation to its first use: every API server has it by then.
    pub publish: SignedDuration,
    /// From a CA's last use to its removal: every replica serves with something else by then.
    pub overlap: SignedDuration,
}

impl Policy {
    /// With lives of the CA and of the serving certificate; the waits are a minute and an hour, or less if the lives are
    /// short.
    pub fn new(ca: SignedDuration, serving: SignedDuration) -> Self {
        Self {
            ca,
            serving,
            publish: SignedDuration::from_mins(1).min(serving / 10),
            overlap: SignedDuration::from_hours(1).min(serving / 10),
        }
    }
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Raw name of its owner.
    pub subject: Vec<u8>,
    /// Raw name of its issuer.
    pub issuer: Vec<u8>,
    /// DNS names that it is for.
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

    /// After two thirds of its life.
    fn due(&self) -> Timestamp {
        self.created() + self.not_after.duration_since(self.created()) * 2 / 3
    }
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// CAs, the newest first; the key is the newest one's.
    pub cas: Vec<Certificate>,
    /// The serving certificate.
    pub serving: Certificate,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing before that moment.
    Keep {
        /// When to look again.
        until: Timestamp,
    },
    /// Make a CA and a serving certificate: there is nothing usable.
    Create,
    /// Put a new CA in front of the others; go on serving with the old one's certificate.
    AddCa,
    /// Make a serving certificate with the newest CA.
    Issue,
    /// Remove every CA but the newest.
    Prune,
}

/// Decides what is to be done, one step at a time.
///
/// `facts` are `None` if there is no Secret or it cannot be used; `published` says whether the API server has exactly
/// these CAs; `names` are the DNS names of the webhook's service.
pub fn plan(facts: Option<&Facts>, names: &[String], published: bool, policy: &Policy, now: Timestamp) -> Plan {
    let Some(Facts { cas, serving }) = facts else { return Plan::Create };
    let Some(newest) = cas.first().filter(|ca| now < ca.not_after) else { return Plan::Create };
    let issuer = cas.iter().find(|ca| ca.subject == serving.issuer);
    let usable = issuer.is_some_and(|ca| now < ca.not_after) && now < serving.not_after && serving.names == names;
    if !usable {
        // Nobody trusts what is served: no reason to wait.
        return Plan::Issue;
    }
    if now >= newest.due() {
        return Plan::AddCa;
    }
    let by_newest = serving.issuer == newest.subject;
    let issue_at = if by_newest { serving.due() } else { newest.created() + policy.publish };
    if now >= issue_at {
        // What waits for the bundle is woken when the bundle changes; the minute is only for safety.
        return if published { Plan::Issue } else { Plan::Keep { until: now + SignedDuration::from_mins(1) } };
    }
    let until = issue_at.min(newest.due());
    if cas.len() == 1 || !by_newest {
        return Plan::Keep { until };
    }
    let prune_at = serving.created() + policy.overlap;
    if now >= prune_at { Plan::Prune } else { Plan::Keep { until: until.min(prune_at) } }
}
