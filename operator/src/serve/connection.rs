//! One connection, from its acceptance to its end, within its bounds.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::body;
use super::bounds::{Bounds, MAX_HEADERS, READ_BUFFER};
use super::crowd::{Phase, Place, Progress};

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
    let _ = stream.set_nodelay(true);
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
    let progress = place.progress();
    progress.enter(Phase::Idle);
    let routes = TowerToHyperService::new(door.router.clone());
    let service = service_fn(|request| answer(&routes, door, progress, request));
    let stream = TokioIo::new(Watched { stream, progress: Arc::clone(progress), discarded: 0 });
    let mut builder = Builder::new();
    builder.max_buf_size(READ_BUFFER).max_headers(MAX_HEADERS);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut timer = pin!(sleep_until(progress.deadline(&door.bounds)));
    let mut stopping = false;
    loop {
        let served_or_late = poll_fn(|context| {
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                return Poll::Ready(result.err());
            }
            // The connection may have got on.
            let deadline = progress.deadline(&door.bounds);
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(context).map(|()| None)
        });
        tokio::select! {
            error = served_or_late => {
                if let Some(error) = error {
                    debug!(%error, "a connection ended with an error");
                }
                return;
            }
            () = place.dismissed() => return,
            () = closing.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    routes: &TowerToHyperService<Router>,
    door: &Door,
    progress: &Progress,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    progress.enter(Phase::Body);
    let (parts, body) = request.into_parts();
    let answer = match body::read(body, &door.bounds, &door.large).await {
        Ok(body::Received { bytes, place }) => {
            progress.enter(Phase::Work);
            let answer = routes.call(Request::from_parts(parts, Body::from(bytes))).await;
            drop(place);
            answer
        }
        Err(refusal) => {
            debug!(%refusal, "refused a request");
            Ok(refusal.into_response())
        }
    };
    progress.enter(Phase::Answer);
    answer
}

/// The most bytes that are read and thrown away behind a request that was refused before its end.
const MAX_DISCARDED: usize = 8 << 20;

/// A stream that tells how a connection gets on.
struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
    discarded: usize,
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads on until the other side hangs up. Closing a socket that has unread bytes would reset the connection, and
    /// the answer could be lost with it.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        while self.discarded < MAX_DISCARDED {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            self.discarded += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before && self.progress.phase() == Phase::Idle {
            self.progress.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// hyper flushes when it has written all that it has. With an answer ready, that is the answer's end.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.progress.phase() == Phase::Answer {
            self.progress.enter(Phase::Idle);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        if self.progress.phase() != Phase::Closing {
            self.progress.enter(Phase::Closing);
        }
        self.poll_discard(context)
    }
}
