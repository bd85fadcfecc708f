//! `AdmissionReview`, version `admission.k8s.io/v1`, over raw JSON: the pod in it is decoded by [`lean`] only.
//!
//! A review is read twice: [`parse`] finds out what is asked for, in next to no memory; [`pod`] decodes the pod.

use axum::Json;
use axum::http::StatusCode;
use k8s_openapi::ByteString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::lean::{Part, lean};
use crate::inject::Injection;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The API server truncates longer warnings.
const MAX_WARNING: usize = 256;

/// The API server passes on 4 KiB of warnings.
const MAX_WARNINGS: usize = 16;

/// The most bytes of a UID, a namespace or a version in a review, all of which the API server itself makes.
const MAX_NAME: usize = 253;

/// The most bytes of a message, which may quote what came.
pub(super) const MAX_MESSAGE: usize = 16 << 10;

/// A body that is no review of the creation of a pod.
#[derive(Debug, Error)]
pub(super) enum Malformed {
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{field} of the review has {length} bytes, the limit is {MAX_NAME}")]
    Long { field: &'static str, length: usize },
    #[error("the body is a {kind} of {api_version}; it must be an {KIND} of {API_VERSION}")]
    Version { api_version: String, kind: String },
    #[error("the review has no request")]
    NoRequest,
    #[error("the review has no object: this webhook is for the creation of pods, not for operation {0}")]
    NoObject(String),
}

/// The request of the API server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    pub(super) dry_run: bool,
    /// The pod's names and labels.
    #[serde(default)]
    object: Head,
}

/// A pod's names and labels.
#[derive(Debug, Default)]
struct Head(Value);

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lean(Part::Head, deserializer).map(Self)
    }
}

/// A pod, as far as it matters for injection.
struct Pod(Value);

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lean(Part::Pod, deserializer).map(Self)
    }
}

impl Request {
    /// The pod, of which only names and labels are there.
    pub(super) fn head(&self) -> &Value {
        &self.object.0
    }

    /// The pod's name, or the prefix from which it is generated.
    pub(super) fn pod_name(&self) -> &str {
        let metadata = &self.head()["metadata"];
        metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// The response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    message: String,
}

/// Reads what a review asks for.
pub(super) fn parse(body: &[u8]) -> Result<Request, Malformed> {
    let Question { api_version, kind, request } = serde_json::from_slice(body)?;
    if api_version != API_VERSION || kind != KIND {
        return Err(Malformed::Version { api_version: cut(&api_version, MAX_NAME), kind: cut(&kind, MAX_NAME) });
    }
    let request = request.ok_or(Malformed::NoRequest)?;
    for (field, value) in [("uid", &request.uid), ("namespace", &request.namespace)] {
        if value.len() > MAX_NAME {
            return Err(Malformed::Long { field, length: value.len() });
        }
    }
    if request.head().is_object() { Ok(request) } else { Err(Malformed::NoObject(cut(&request.operation, MAX_NAME))) }
}

/// Decodes the pod of a review that [`parse`] has read.
pub(super) fn pod(body: &[u8]) -> Result<Value, Malformed> {
    #[derive(Deserialize)]
    struct Question {
        request: Request,
    }
    #[derive(Deserialize)]
    struct Request {
        object: Pod,
    }
    let Question { request: Request { object: Pod(pod) } } = serde_json::from_slice(body)?;
    Ok(pod)
}

/// The first `length` bytes of a text, or a little less.
pub(super) fn cut(text: &str, length: usize) -> String {
    text[..text.floor_char_boundary(length)].to_owned()
}

/// Allows the pod, with its additions.
pub(super) fn allow(uid: &str, injection: &Injection) -> Json<Review> {
    let Injection { patch, warnings } = injection;
    let bytes = serde_json::to_vec(patch).expect("a patch has string keys only");
    let some = !patch.is_empty();
    review(Response {
        uid: uid.to_owned(),
        allowed: true,
        patch_type: some.then_some("JSONPatch"),
        patch: some.then_some(ByteString(bytes)),
        warnings: warnings
            .iter()
            .take(MAX_WARNINGS)
            .map(|warning| warning.chars().take(MAX_WARNING).collect())
            .collect(),
        status: None,
    })
}

/// Denies the pod.
pub(super) fn deny(uid: &str, code: StatusCode, message: &str) -> Json<Review> {
    let status = Some(Status { code: code.as_u16(), message: cut(message, MAX_MESSAGE) });
    review(Response { uid: uid.to_owned(), status, ..Response::default() })
}

fn review(response: Response) -> Json<Review> {
    Json(Review { api_version: API_VERSION, kind: KIND, response })
}
