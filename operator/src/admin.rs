//! Health and metrics, over plain HTTP: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics::Metrics;

/// Whether this replica is ready; `Err` has the reason why not.
pub type Ready = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// The routes. `/healthz` answers while the process lives.
pub fn router(ready: Ready, metrics: Arc<Metrics>) -> Router {
    let readyz = get(|State(ready): State<Ready>| async move {
        match ready() {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
        }
    });
    let exposed = get(|| async move { exposition(&metrics) });
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", readyz)
        .route("/metrics", exposed)
        .with_state(ready)
}

fn exposition(metrics: &Arc<Metrics>) -> impl IntoResponse + use<> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.text())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(path: &str, ready: Result<(), &'static str>) -> (StatusCode, String) {
        let router = router(Arc::new(move || ready), Arc::default());
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing() {
        assert_eq!(get("/readyz", Ok(())).await, (StatusCode::OK, "ready\n".to_owned()));
        let (status, body) = get("/readyz", Err("no certificate")).await;
        assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "no certificate\n"));
        assert_eq!(get("/healthz", Err("no certificate")).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let (status, body) = get("/metrics", Ok(())).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("framebuffer_operator_leader 0"), "{body}");
        assert!(body.ends_with("# EOF\n"), "{body}");
    }
}
