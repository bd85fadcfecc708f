//! [`send_event`]: Kubernetes events about an object, for users who describe it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use tracing::warn;

/// Sends an event about `object`. A failure is only logged: the object's status says the same.
pub(crate) async fn send_event(
    recorder: &Recorder,
    object: &ObjectReference,
    type_: EventType,
    reason: &str,
    action: &str,
    note: String,
) {
    let event =
        Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None };
    if let Err(error) = recorder.publish(&event, object).await {
        warn!(error = &error as &dyn std::error::Error, "failed to send an event");
    }
}
