//! `/healthz`, `/readyz` and `/metrics`, for the kubelet and Prometheus outside the pod. Never serves the key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use framebuffer::{ChannelInfo, Stats};

use crate::metrics;
use crate::ring::CurrentRing;

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
    fn figures(&self) -> Result<Option<(Stats, Vec<ChannelInfo>)>, framebuffer::Error> {
        self.ring.get().map(|ring| Ok((ring.stats()?, ring.channels()?))).transpose()
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
    let failed = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, why).into_response();
    let figures = match health.figures() {
        Ok(figures) => figures,
        Err(error) => return failed(format!("{:#}\n", anyhow::Error::new(error))),
    };
    match metrics::render(figures) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => failed(format!("failed to write the metrics: {error}\n")),
    }
}
