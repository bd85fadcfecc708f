//! `AdmissionReview`, version `admission.k8s.io/v1`, over raw JSON: the pod in it is never decoded.

use axum::Json;
use axum::http::StatusCode;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::inject::Injection;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The API server truncates longer warnings.
const MAX_WARNING: usize = 256;

/// A body that is no review of the creation of a pod.
#[derive(Debug, Error)]
pub(super) enum Malformed {
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
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
    #[serde(default)]
    pub(super) object: Value,
}

impl Request {
    /// The pod's name, or the prefix from which it is generated.
    pub(super) fn pod_name(&self) -> &str {
        let metadata = &self.object["metadata"];
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

/// Reads a review.
pub(super) fn parse(body: &[u8]) -> Result<Request, Malformed> {
    let Question { api_version, kind, request } = serde_json::from_slice(body)?;
    if api_version != API_VERSION || kind != KIND {
        return Err(Malformed::Version { api_version, kind });
    }
    let request = request.ok_or(Malformed::NoRequest)?;
    if request.object.is_object() { Ok(request) } else { Err(Malformed::NoObject(request.operation)) }
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
        warnings: warnings.iter().map(|warning| warning.chars().take(MAX_WARNING).collect()).collect(),
        status: None,
    })
}

/// Denies the pod.
pub(super) fn deny(uid: &str, code: StatusCode, message: String) -> Json<Review> {
    let status = Some(Status { code: code.as_u16(), message });
    review(Response { uid: uid.to_owned(), status, ..Response::default() })
}

fn review(response: Response) -> Json<Review> {
    Json(Review { api_version: API_VERSION, kind: KIND, response })
}
