//! [`PodIndex`]: the labelled pods, reduced to what is counted. A pod takes a few hundred bytes.

use std::collections::{HashMap, HashSet};

use framebuffer_contract::kubernetes::{INJECT_LABEL, INJECTED_ANNOTATION};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{ApiResource, Object, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use serde::{Deserialize, Serialize};

use crate::api::FrameBuffer;
use crate::api::status::PodCounts;

/// A pod, decoded as far as necessary.
pub type WatchedPod = Object<Ignored, WatchedStatus>;

/// The part of a pod that is not decoded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ignored {}

/// The part of a pod's status that is counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WatchedStatus {
    #[serde(default)]
    phase: String,
    #[serde(default)]
    conditions: Vec<WatchedCondition>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WatchedCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// The resource of pods.
pub fn resource() -> ApiResource {
    ApiResource::erase::<Pod>(&())
}

/// A counted pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The hash of its injection.
    pub hash: Option<Box<str>>,
    /// Whether it is ready.
    pub ready: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Its controller.
    pub owner: Option<Owner>,
}

/// The controller of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Group and version.
    pub api_version: Box<str>,
    /// Kind.
    pub kind: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// UID.
    pub uid: Box<str>,
}

/// Namespace and name of a pod.
type PodKey = (Box<str>, Box<str>);

/// The labelled pods that have not ended.
#[derive(Debug, Default)]
pub struct PodIndex {
    pods: HashMap<ObjectRef<FrameBuffer>, HashMap<PodKey, Counted>>,
    /// The `FrameBuffer` for which a pod is counted: its label may change.
    counted_for: HashMap<PodKey, ObjectRef<FrameBuffer>>,
    /// The pods seen in the list that is being received.
    relisted: HashSet<PodKey>,
}

impl PodIndex {
    /// Applies an event; returns the `FrameBuffer`s whose counted pods have changed.
    pub fn apply(&mut self, event: Event<WatchedPod>) -> Vec<ObjectRef<FrameBuffer>> {
        match event {
            Event::Apply(pod) => self.insert(&pod),
            Event::Delete(pod) => self.remove(&key(&pod.metadata)).into_iter().collect(),
            Event::Init => {
                self.relisted.clear();
                Vec::new()
            }
            Event::InitApply(pod) => {
                self.relisted.insert(key(&pod.metadata));
                self.insert(&pod)
            }
            Event::InitDone => {
                let relisted = std::mem::take(&mut self.relisted);
                let gone: Vec<PodKey> =
                    self.counted_for.keys().filter(|pod| !relisted.contains(*pod)).cloned().collect();
                gone.iter().filter_map(|pod| self.remove(pod)).collect()
            }
        }
    }

    /// The pods of one `FrameBuffer`.
    pub fn of(&self, framebuffer: &ObjectRef<FrameBuffer>) -> impl Iterator<Item = &Counted> {
        self.pods.get(framebuffer).into_iter().flat_map(HashMap::values)
    }

    /// The owners of all pods, and when the newest pod of each was created.
    pub fn owners(&self) -> HashMap<(ObjectRef<FrameBuffer>, Owner), Timestamp> {
        let mut owners = HashMap::new();
        for (framebuffer, pods) in &self.pods {
            for pod in pods.values() {
                let Some(owner) = &pod.owner else { continue };
                let newest = owners.entry((framebuffer.clone(), owner.clone())).or_insert(pod.created);
                *newest = pod.created.max(*newest);
            }
        }
        owners
    }

    /// Counts the pods of one `FrameBuffer` whose current hash is `hash`. Without one, no pod is outdated.
    pub fn count(&self, framebuffer: &ObjectRef<FrameBuffer>, hash: Option<&str>) -> PodCounts {
        self.of(framebuffer).fold(PodCounts::default(), |counts, pod| PodCounts {
            matched: counts.matched + 1,
            ready: counts.ready + i32::from(pod.ready),
            outdated: counts.outdated + i32::from(hash.is_some() && pod.hash.as_deref() != hash),
        })
    }

    /// The number of counted pods.
    pub fn len(&self) -> usize {
        self.counted_for.len()
    }

    /// Whether no pod is counted.
    pub fn is_empty(&self) -> bool {
        self.counted_for.is_empty()
    }

    fn insert(&mut self, pod: &WatchedPod) -> Vec<ObjectRef<FrameBuffer>> {
        let key = key(&pod.metadata);
        let Some((framebuffer, counted)) = counted(pod) else { return self.remove(&key).into_iter().collect() };
        let moved = self.counted_for.get(&key).is_some_and(|before| *before != framebuffer);
        let left = if moved { self.remove(&key) } else { None };
        let pods = self.pods.entry(framebuffer.clone()).or_default();
        let changed = pods.get(&key) != Some(&counted);
        pods.insert(key.clone(), counted);
        self.counted_for.insert(key, framebuffer.clone());
        left.into_iter().chain(changed.then_some(framebuffer)).collect()
    }

    fn remove(&mut self, pod: &PodKey) -> Option<ObjectRef<FrameBuffer>> {
        let framebuffer = self.counted_for.remove(pod)?;
        if let Some(pods) = self.pods.get_mut(&framebuffer) {
            pods.remove(pod);
            if pods.is_empty() {
                self.pods.remove(&framebuffer);
            }
        }
        Some(framebuffer)
    }
}

fn key(metadata: &ObjectMeta) -> PodKey {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&metadata.namespace), text(&metadata.name))
}

/// Reduces a pod to what is counted; `None` if it has ended, or has no label.
fn counted(pod: &WatchedPod) -> Option<(ObjectRef<FrameBuffer>, Counted)> {
    let metadata = &pod.metadata;
    let framebuffer = metadata.labels.as_ref()?.get(INJECT_LABEL)?;
    let status = pod.status.clone().unwrap_or_default();
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return None;
    }
    let owners = metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| Owner {
        api_version: owner.api_version.as_str().into(),
        kind: owner.kind.as_str().into(),
        name: owner.name.as_str().into(),
        uid: owner.uid.as_str().into(),
    });
    let hash = metadata.annotations.as_ref().and_then(|annotations| annotations.get(INJECTED_ANNOTATION));
    let counted = Counted {
        hash: hash.map(|hash| hash.as_str().into()),
        ready: status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True"),
        created: metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        owner,
    };
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    Some((ObjectRef::new(framebuffer).within(namespace), counted))
}

#[cfg(test)]
mod tests;
