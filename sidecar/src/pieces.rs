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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_piece_is_made_when_there_is_room_to_send_it_and_not_before() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut body = body((0..3).map(move |number| {
            counter.fetch_add(1, Ordering::Relaxed);
            number.to_string()
        }));
        for number in 0..3 {
            assert_eq!(made.load(Ordering::Relaxed), number);
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece, number.to_string());
        }
        assert!(body.frame().await.is_none());
    }
}
