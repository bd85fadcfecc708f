//! One connection, from its acceptance to its end, within its bounds.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::http::{HeaderMap, Request, Uri};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::bounds::{Bounds, MAX_HEADERS, READ_BUFFER};
use super::crowd::{Phase, Place, Progress};
use crate::api::problem::Problem;

/// What a listener serves, to whom, and how long that may take.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) router: Router,
    pub(super) admit: fn(&Uri, &HeaderMap) -> Result<(), Problem>,
    pub(super) bounds: &'static Bounds,
}

/// Serves a connection until its end: the other side closes it; `stop`'s sender is gone, and what was under way has
/// been answered; it exceeds its bounds; or it has to make room for another one.
pub(super) async fn serve<S>(stream: S, door: Door, place: Place, mut stop: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Door { router, admit, bounds } = door;
    let progress = place.progress();
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|request| answer(&routes, admit, progress, request));
    let stream = TokioIo::new(Watched { stream, progress: Arc::clone(progress), discarded: 0 });
    let mut builder = Builder::new();
    builder.keep_alive(bounds.keep_alive).max_buf_size(READ_BUFFER).max_headers(MAX_HEADERS);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut timer = pin!(sleep_until(progress.deadline(bounds)));
    let mut stopping = false;
    loop {
        let served_or_late = poll_fn(|context| {
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                return Poll::Ready(result.err());
            }
            // The connection may have got on.
            let deadline = progress.deadline(bounds);
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(context).map(|()| None)
        });
        tokio::select! {
            error = served_or_late => {
                if let Some(error) = error {
                    tracing::debug!(%error, "a connection failed");
                }
                return;
            }
            () = place.dismissed() => return,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    routes: &TowerToHyperService<Router>,
    admit: fn(&Uri, &HeaderMap) -> Result<(), Problem>,
    progress: &Progress,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    progress.enter(Phase::Request);
    let answer = match admit(request.uri(), request.headers()) {
        Ok(()) => routes.call(request).await,
        Err(problem) => Ok(problem.into_response()),
    };
    progress.enter(Phase::Answer);
    answer
}

/// The most bytes that are read and thrown away behind a request that was refused before its end.
const MAX_DISCARDED: usize = 256 << 10;

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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
        if self.progress.phase() == Phase::Head {
            self.progress.enter(Phase::Closing);
        }
        if self.progress.phase() == Phase::Closing { self.poll_discard(context) } else { Poll::Ready(Ok(())) }
    }
}
