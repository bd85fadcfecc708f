//! The admission webhook: `POST /mutate`. It renders by [`crate::render`] and injects by [`crate::inject`].
//!
//! Read [`review`] (the protocol), [`lookup`] (finds the `FrameBuffer`), [`serve`] (TLS); the decision is in this file.
//! It has no side effects, so that a dry run needs no special treatment.

pub mod lookup;
mod review;
pub mod serve;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tracing::{debug, error, info};

use crate::inject::{Denial, Injection, inject, wanted};
use crate::metrics::{Metrics, Outcome};
use crate::render::{Settings, render};
use crate::validate::validate;
use lookup::Lookup;
use review::Request;

/// Limit of a request body in bytes. The API server accepts objects of up to 3 MiB, and a review repeats parts of them.
const BODY_LIMIT: usize = 8 << 20;

/// The state of the webhook.
pub struct Admission {
    /// Finds `FrameBuffer`s.
    pub framebuffers: Lookup,
    /// The operator's settings.
    pub settings: Settings,
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
}

/// A decision on a pod.
enum Verdict {
    Allowed(Injection),
    Denied(Denial),
    /// The decision could not be made; the API server's client may try again.
    Failed(kube::Error),
}

/// The webhook's routes.
pub fn router(admission: Arc<Admission>) -> Router {
    Router::new().route("/mutate", post(mutate)).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(admission)
}

async fn mutate(State(admission): State<Arc<Admission>>, headers: HeaderMap, body: Bytes) -> Response {
    let started = Instant::now();
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if !json {
        admission.metrics.admitted(Outcome::Malformed, started.elapsed());
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json").into_response();
    }
    let request = match review::parse(&body) {
        Ok(request) => request,
        Err(malformed) => {
            admission.metrics.admitted(Outcome::Malformed, started.elapsed());
            return (StatusCode::BAD_REQUEST, malformed.to_string()).into_response();
        }
    };
    let verdict = admission.decide(&request).await;
    let (outcome, response) = answer(&request, verdict);
    admission.metrics.admitted(outcome, started.elapsed());
    response.into_response()
}

impl Admission {
    async fn decide(&self, request: &Request) -> Verdict {
        let Some(name) = wanted(&request.object) else { return Verdict::Allowed(Injection::default()) };
        if name.is_empty() {
            return Verdict::Denied(Denial::EmptyLabel);
        }
        let namespace = &request.namespace;
        let framebuffer = match self.framebuffers.get(namespace, name).await {
            Ok(Some(framebuffer)) => framebuffer,
            Ok(None) => {
                return Verdict::Denied(Denial::Unknown { name: name.to_owned(), namespace: namespace.clone() });
            }
            Err(error) => return Verdict::Failed(error),
        };
        let injection = validate(&framebuffer)
            .map_err(|invalid| Denial::Invalid { name: name.to_owned(), invalid })
            .and_then(|spec| inject(&request.object, &render(&spec, &self.settings)));
        injection.map_or_else(Verdict::Denied, Verdict::Allowed)
    }
}

/// Logs and phrases a verdict.
fn answer(request: &Request, verdict: Verdict) -> (Outcome, axum::Json<review::Review>) {
    let (namespace, pod, dry_run) = (&request.namespace, request.pod_name(), request.dry_run);
    match verdict {
        Verdict::Allowed(injection) if injection.patch.is_empty() => {
            debug!(namespace, pod, dry_run, "left a pod as it is");
            (Outcome::Unchanged, review::allow(&request.uid, &injection))
        }
        Verdict::Allowed(injection) => {
            debug!(namespace, pod, dry_run, "injected a pod");
            (Outcome::Injected, review::allow(&request.uid, &injection))
        }
        Verdict::Denied(denial) => {
            info!(namespace, pod, dry_run, %denial, "denied a pod");
            (Outcome::Denied, review::deny(&request.uid, StatusCode::FORBIDDEN, denial.to_string()))
        }
        Verdict::Failed(error) => {
            error!(
                namespace,
                pod,
                dry_run,
                error = &error as &dyn std::error::Error,
                "failed to look up a FrameBuffer"
            );
            let message = "the operator could not look up the pod's FrameBuffer; try again".to_owned();
            (Outcome::Failed, review::deny(&request.uid, StatusCode::INTERNAL_SERVER_ERROR, message))
        }
    }
}

#[cfg(test)]
mod tests;
