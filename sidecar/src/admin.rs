//! `/healthz`, `/readyz` and `/metrics`, for the kubelet and Prometheus outside the pod. Never serves the key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use framebuffer::{ChannelInfo, Stats};

use crate::ring::CurrentRing;
use crate::{metrics, pieces};

/// How far the sidecar is, as the admin port tells it.
#[derive(Debug, Default)]
pub struct Health {
    ring: CurrentRing,
    stopping: AtomicBool,
}

impl Health {
    /// Of a sidecar that owns `ring`.
    pub fn new(ring: CurrentRing) -> Self {
        Self { ring, ..Self::default() }
    }

    /// From now on no new work is welcome.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The ring's figures, once there is one.
    fn stats(&self) -> Result<Option<Stats>, framebuffer::Error> {
        self.ring.get().map(|ring| ring.stats()).transpose()
    }

    /// The ring's channels. None without a ring, or one that is in order.
    fn channels(&self) -> Vec<ChannelInfo> {
        self.ring.get().and_then(|ring| ring.channels().ok()).unwrap_or_default()
    }
}

/// All routes.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if health.stopping.load(Ordering::Relaxed) {
        return unavailable("stopping\n".to_owned());
    }
    match health.ring.get().map(|ring| ring.check()) {
        Some(Ok(())) => "ready\n".into_response(),
        None => unavailable("the ring is being created\n".to_owned()),
        Some(Err(error)) => unavailable(format!("{:#}\n", anyhow::Error::new(error))),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    match health.stats() {
        Ok(stats) => {
            let pieces = metrics::pieces(stats, move || health.channels());
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], pieces::body(pieces)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}\n", anyhow::Error::new(error))).into_response(),
    }
}
