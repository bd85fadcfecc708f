//! [`serve_connection`]: one connection, to its end, within its bounds.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep_until;

use crate::bounds::ConnectionBounds;
use crate::crowd::Place;
use crate::progress::Phase;
use crate::watched::Watched;

/// Serves a connection until its end: the other side closes it; `stopping` is ready, and what was under way has been
/// answered; it exceeds its bounds; or it has to make room for another one.
pub async fn serve_connection<S, F, A, B>(
    stream: S,
    place: &Place,
    bounds: &ConnectionBounds,
    answer: F,
    stopping: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let progress = place.progress();
    progress.enter(Phase::Idle);
    let service = service_fn(|request| {
        progress.enter(Phase::Request);
        let answer = answer(request);
        async {
            let answer = answer.await;
            progress.enter(Phase::Answer);
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(Watched::new(stream, Arc::clone(progress), bounds));
    let mut builder = Builder::new();
    builder.keep_alive(bounds.keep_alive).max_buf_size(bounds.read_buffer).max_headers(bounds.headers);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut timer = pin!(sleep_until(progress.deadline(bounds)));
    let mut stopping = pin!(stopping);
    let mut stopped = false;
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
            () = &mut stopping, if !stopped => {
                stopped = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
