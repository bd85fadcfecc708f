//! The admission webhook: `POST /mutate`. It renders by [`crate::render`] and injects by [`crate::inject`].
//!
//! Read [`review`] (the protocol), [`lean`] (decodes a pod within a bound of memory), [`lookup`] (finds the
//! `FrameBuffer`); the decision is in this file. It has no side effects, so that a dry run needs no special treatment.

mod lean;
pub mod lookup;
mod review;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, error, info};

use crate::inject::{Denial, Injection, inject, wanted};
use crate::metrics::{Metrics, Outcome};
use crate::render::{Settings, render};
use crate::serve::bounds::BODY_LIMIT;
use crate::serve::busy;
use crate::validate::{ValidSpec, validate};
use lookup::Lookup;
use review::{MAX_MESSAGE, Malformed, Request, cut};

/// The most reviews in work at a time: as many as the runtime has threads, since work never waits.
const AT_WORK: usize = 2;

/// How long a review waits for its turn.
const TURN: Duration = Duration::from_secs(5);

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
    /// The pod exceeds a bound; the reason follows.
    TooLarge(Malformed),
    /// The decision could not be made; the API server's client may try again.
    Failed(kube::Error),
}

/// The webhook, with its bound of reviews in work.
struct Webhook {
    admission: Arc<Admission>,
    work: Semaphore,
}

/// The webhook's routes.
pub fn router(admission: Arc<Admission>) -> Router {
    let webhook = Arc::new(Webhook { admission, work: Semaphore::new(AT_WORK) });
    Router::new().route("/mutate", post(mutate)).layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(webhook)
}

async fn mutate(State(webhook): State<Arc<Webhook>>, headers: HeaderMap, body: Bytes) -> Response {
    let started = Instant::now();
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let (outcome, response) = if json {
        webhook.review(&body).await
    } else {
        (Outcome::Malformed, (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json").into_response())
    };
    webhook.admission.metrics.admitted(outcome, started.elapsed());
    response
}

impl Webhook {
    async fn review(&self, body: &[u8]) -> (Outcome, Response) {
        let request = match self.in_turn(|| review::parse(body)).await {
            Some(Ok(request)) => request,
            Some(Err(malformed)) => {
                let reason = cut(&malformed.to_string(), MAX_MESSAGE);
                return (Outcome::Malformed, (StatusCode::BAD_REQUEST, reason).into_response());
            }
            None => return too_busy(),
        };
        // May ask the API server: whoever waits for it is not in work.
        let found = self.admission.find(&request).await;
        let decided = self.in_turn(|| {
            let verdict = found.map_or_else(|verdict| verdict, |spec| self.admission.decide(body, spec.as_ref()));
            let (outcome, review) = answer(&request, verdict);
            (outcome, review.into_response())
        });
        decided.await.unwrap_or_else(too_busy)
    }

    /// Works, when it is its turn; `None` if that takes too long.
    async fn in_turn<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let turn = timeout(TURN, self.work.acquire()).await.ok()?;
        let _turn = turn.expect("the semaphore is never closed");
        Some(work())
    }
}

fn too_busy() -> (Outcome, Response) {
    let seconds = TURN.as_secs();
    let reason = format!("too many reviews, and this one has waited for {seconds} seconds: try again in a second");
    (Outcome::Busy, busy(reason))
}

impl Admission {
    /// The `FrameBuffer` that a pod asks for; `None` if it asks for none.
    async fn find(&self, request: &Request) -> Result<Option<ValidSpec>, Verdict> {
        let Some(name) = wanted(request.head()) else { return Ok(None) };
        if name.is_empty() {
            return Err(Verdict::Denied(Denial::EmptyLabel));
        }
        let namespace = &request.namespace;
        let framebuffer = match self.framebuffers.get(namespace, name).await {
            Ok(Some(framebuffer)) => framebuffer,
            Ok(None) => {
                let denial = Denial::Unknown { name: name.to_owned(), namespace: namespace.clone() };
                return Err(Verdict::Denied(denial));
            }
            Err(error) => return Err(Verdict::Failed(error)),
        };
        let invalid = |invalid| Verdict::Denied(Denial::Invalid { name: name.to_owned(), invalid });
        validate(&framebuffer).map(Some).map_err(invalid)
    }

    fn decide(&self, body: &[u8], spec: Option<&ValidSpec>) -> Verdict {
        let Some(spec) = spec else { return Verdict::Allowed(Injection::default()) };
        let pod = match review::pod(body) {
            Ok(pod) => pod,
            Err(malformed) => return Verdict::TooLarge(malformed),
        };
        inject(&pod, &render(spec, &self.settings)).map_or_else(Verdict::Denied, Verdict::Allowed)
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
            let denial = cut(&denial.to_string(), MAX_MESSAGE);
            info!(namespace, pod, dry_run, denial, "denied a pod");
            (Outcome::Denied, review::deny(&request.uid, StatusCode::FORBIDDEN, &denial))
        }
        Verdict::TooLarge(malformed) => {
            info!(namespace, pod, dry_run, %malformed, "refused a pod that is too large");
            (Outcome::Denied, review::deny(&request.uid, StatusCode::PAYLOAD_TOO_LARGE, &malformed.to_string()))
        }
        Verdict::Failed(error) => {
            error!(
                namespace,
                pod,
                dry_run,
                error = &error as &dyn std::error::Error,
                "failed to look up a FrameBuffer"
            );
            let message = "the operator could not look up the pod's FrameBuffer; try again";
            (Outcome::Failed, review::deny(&request.uid, StatusCode::INTERNAL_SERVER_ERROR, message))
        }
    }
}

#[cfg(test)]
mod tests;
