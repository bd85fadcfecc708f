//! One connection: who asks is let in or refused, and answered by the routes.

use axum::Router;
use axum::http::{HeaderMap, Request, Uri};
use axum::response::{IntoResponse as _, Response};
use framebuffer_listener::{ConnectionBounds, Place, serve_connection};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::api::problem::Problem;

/// What a listener serves, to whom, and how long that may take.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) router: Router,
    pub(super) admit: fn(&Uri, &HeaderMap) -> Result<(), Problem>,
    pub(super) bounds: &'static ConnectionBounds,
}

/// Serves a connection until its end, or until `stop`'s sender is gone and what was under way has been answered.
pub(super) async fn serve<S>(stream: S, door: Door, place: Place, mut stop: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Door { router, admit, bounds } = door;
    let routes = TowerToHyperService::new(router);
    let answer = |request| answer(&routes, admit, request);
    serve_connection(stream, &place, bounds, answer, async { _ = stop.changed().await }).await;
}

async fn answer(
    routes: &TowerToHyperService<Router>,
    admit: fn(&Uri, &HeaderMap) -> Result<(), Problem>,
    request: Request<Incoming>,
) -> Response {
    match admit(request.uri(), request.headers()) {
        Ok(()) => routes.call(request).await.unwrap_or_else(|never| match never {}),
        Err(problem) => problem.into_response(),
    }
}
