//! One connection, from its acceptance to its end, within its bounds.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use framebuffer_listener::{Phase, Place, serve_connection};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::body;
use super::bounds::Bounds;

/// What a listener serves, to whom, and how long that may take.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) router: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) bounds: Bounds,
    /// Places of large bodies.
    pub(super) large: Arc<Semaphore>,
}

/// Serves a connection until its end: the other side closes it; `closing` is cancelled, and what was under way has been
/// answered; it exceeds its bounds; or it has to make room for another one.
pub(super) async fn welcome(stream: TcpStream, door: Door, place: Place, closing: CancellationToken) {
    let Some(tls) = door.tls.clone() else { return serve(stream, &door, &place, closing).await };
    let handshake = timeout(door.bounds.handshake, tls.accept(stream));
    let stream = tokio::select! {
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "failed a TLS handshake"),
            Err(_) => return debug!("a client took too long for its TLS handshake"),
        },
        () = place.dismissed() => return,
        () = closing.cancelled() => return,
    };
    serve(stream, &door, &place, closing).await;
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, door: &Door, place: &Place, closing: CancellationToken) {
    let routes = TowerToHyperService::new(door.router.clone());
    let answer = |request| answer(&routes, door, place, request);
    serve_connection(stream, place, &door.bounds.of_connection(), answer, closing.cancelled()).await;
}

async fn answer(
    routes: &TowerToHyperService<Router>,
    door: &Door,
    asker: &Place,
    request: Request<Incoming>,
) -> Response {
    let (parts, body) = request.into_parts();
    match body::read(body, &door.bounds, &door.large).await {
        Ok(body::Received { bytes, place }) => {
            asker.progress().enter(Phase::Work);
            let request = Request::from_parts(parts, Body::from(bytes));
            let answer = routes.call(request).await.unwrap_or_else(|never| match never {});
            drop(place);
            answer
        }
        Err(refusal) => {
            debug!(%refusal, "refused a request");
            refusal.into_response()
        }
    }
}
