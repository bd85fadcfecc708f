//! [`body`]: an answer that is made piece by piece, as it is taken. So whoever is slow to take a long answer does not
//! make the sidecar hold it: see [`serve::bounds`](crate::serve).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::Frame;

/// The body that consists of these pieces. Each is asked for when there is room to send it.
pub fn body(pieces: impl Iterator<Item = String> + Send + Unpin + 'static) -> Body {
    Body::new(Pieces(pieces))
}

struct Pieces<I>(I);

impl<I: Iterator<Item = String> + Unpin> hyper::body::Body for Pieces<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece.into()))))
    }
}
