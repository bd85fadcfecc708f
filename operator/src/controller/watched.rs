//! [`Watched`]: a `FrameBuffer` as the controller keeps it in memory: its spec, and of its status only what the next
//! one is built from and compared with. What is injected takes kilobytes for each, and annotations may take hundreds.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::MANAGER;
use crate::api::{FrameBuffer, FrameBufferSpec, FrameBufferStatus};

/// A `FrameBuffer`, reduced while it is decoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Watched {
    /// Without its status, and with those fields of its metadata that the controller reads.
    pub(super) framebuffer: FrameBuffer,
    /// Its status; `None` if it has none.
    pub(super) shown: Option<Shown>,
    /// Field managers, other than the operator, that have written to its status.
    pub(super) writers: Vec<String>,
}

/// A status, reduced.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    pub(super) digest: Digest,
    pub(super) dated: Dated,
}

/// Identifies a whole status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 16]);

/// What a status dates. The next one keeps these times.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Dated {
    pub(super) conditions: Vec<DatedCondition>,
    /// The hash of what is injected, and when it was first rendered.
    pub(super) rendered: Option<(String, Time)>,
}

/// A condition, without its message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DatedCondition {
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) since: Time,
}

impl Watched {
    /// Namespace and name.
    pub(super) fn key(&self) -> ObjectRef<FrameBuffer> {
        let ObjectMeta { name, namespace, .. } = &self.framebuffer.metadata;
        ObjectRef::new(name.as_deref().unwrap_or_default()).within(namespace.as_deref().unwrap_or_default())
    }
}

/// A `FrameBuffer` as it is received.
#[derive(Deserialize)]
struct Received {
    metadata: ObjectMeta,
    spec: FrameBufferSpec,
    #[serde(default)]
    status: Option<Value>,
}

impl From<Received> for Watched {
    fn from(Received { metadata, spec, status }: Received) -> Self {
        // One that cannot be read is as good as none, and is replaced. It must not stop the watch.
        let shown = status.and_then(|status| serde_json::from_value(status).ok()).map(|status| Shown::of(&status));
        let ObjectMeta { name, namespace, uid, generation, resource_version, managed_fields, .. } = metadata;
        let writes_status = |subresource: &Option<String>| subresource.as_deref() == Some("status");
        let others = managed_fields.unwrap_or_default().into_iter().filter(|entry| writes_status(&entry.subresource));
        let writers = others.filter_map(|entry| entry.manager).filter(|manager| manager != MANAGER).collect();
        let metadata = ObjectMeta { name, namespace, uid, generation, resource_version, ..ObjectMeta::default() };
        Self { framebuffer: FrameBuffer { metadata, spec, status: None }, shown, writers }
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Received::deserialize(deserializer).map(Self::from)
    }
}

impl Resource for Watched {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(none: &()) -> Cow<'_, str> {
        FrameBuffer::kind(none)
    }

    fn group(none: &()) -> Cow<'_, str> {
        FrameBuffer::group(none)
    }

    fn version(none: &()) -> Cow<'_, str> {
        FrameBuffer::version(none)
    }

    fn plural(none: &()) -> Cow<'_, str> {
        FrameBuffer::plural(none)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.framebuffer.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.framebuffer.metadata
    }
}

impl Shown {
    pub(super) fn of(status: &FrameBufferStatus) -> Self {
        Self { digest: Digest::of(status), dated: Dated::of(status) }
    }
}

impl Digest {
    /// The same for statuses that differ in the order of their fields only: the API server sorts them.
    pub(super) fn of(status: &FrameBufferStatus) -> Self {
        let mut value = serde_json::to_value(status).expect("a status has string keys only");
        value.sort_all_objects();
        let digest = Sha256::digest(value.to_string());
        Self(digest[..16].try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl Dated {
    pub(super) fn of(status: &FrameBufferStatus) -> Self {
        let conditions = status.conditions.iter().map(|condition| DatedCondition {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            since: condition.last_transition_time.clone(),
        });
        let injection = status.injection.as_ref();
        Self {
            conditions: conditions.collect(),
            rendered: injection.map(|injection| (injection.hash.clone(), injection.rendered_at.clone())),
        }
    }

    /// Without times to come, which the operator never writes: whoever did would put off restarts until then.
    pub(super) fn until(mut self, now: Timestamp) -> Self {
        let clamp = |time: &mut Time| time.0 = time.0.min(now);
        self.conditions.iter_mut().for_each(|condition| clamp(&mut condition.since));
        self.rendered.iter_mut().for_each(|(_, at)| clamp(at));
        self
    }

    /// When the content with this hash was first rendered; `None` if the status has another.
    pub(super) fn rendered_at(&self, hash: &str) -> Option<Timestamp> {
        self.rendered.as_ref().filter(|(known, _)| known == hash).map(|(_, at)| at.0)
    }

    /// The condition of this kind.
    pub(super) fn condition(&self, kind: &str) -> Option<&DatedCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

#[cfg(test)]
impl From<FrameBuffer> for Watched {
    fn from(framebuffer: FrameBuffer) -> Self {
        serde_json::from_value(serde_json::to_value(framebuffer).unwrap()).unwrap()
    }
}

#[cfg(test)]
mod tests;
