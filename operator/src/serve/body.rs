//! [`read`]: a request's body, of a size that is known beforehand, within its time.

use std::pin::Pin;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as _, Incoming};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::bounds::{Bounds, LARGE_BODIES, SMALL_BODY};

/// Why a body is not read.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("the body has {length} bytes, the limit is {limit}: make the object smaller")]
    TooLarge { length: u64, limit: usize },
    #[error("the body has no Content-Length: send one")]
    NoLength,
    #[error("the body did not arrive within {0} seconds: send it faster")]
    Slow(u64),
    #[error("{LARGE_BODIES} requests above {SMALL_BODY} bytes are being received already: try again in a second")]
    Busy,
    #[error("the body ended early: {0}")]
    Broken(#[from] hyper::Error),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoLength => StatusCode::LENGTH_REQUIRED,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => return busy(self.to_string()),
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        };
        (status, [(header::CONNECTION, "close")], self.to_string()).into_response()
    }
}

/// The response to somebody who should try again soon. The API server does so by itself.
pub(crate) fn busy(reason: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], reason).into_response()
}

/// A body. A large one has its place until it is dropped.
pub(super) struct Received<'a> {
    pub(super) bytes: Vec<u8>,
    pub(super) place: Option<SemaphorePermit<'a>>,
}

/// Reads a body. It is copied into memory of its exact size: pieces as small as the sender likes would cost a multiple.
pub(super) async fn read<'a>(
    mut body: Incoming,
    bounds: &Bounds,
    large: &'a Semaphore,
) -> Result<Received<'a>, Refusal> {
    let length = body.size_hint().exact().ok_or(Refusal::NoLength)?;
    let limit = bounds.body;
    let size = usize::try_from(length).ok().filter(|size| *size <= limit);
    let size = size.ok_or(Refusal::TooLarge { length, limit })?;
    let place = if size > SMALL_BODY {
        let turn = timeout(bounds.receive, large.acquire()).await.map_err(|_| Refusal::Busy)?;
        Some(turn.expect("the semaphore is never closed"))
    } else {
        None
    };
    let receive = async {
        let mut bytes = Vec::with_capacity(size);
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok::<_, Refusal>(bytes)
    };
    let received = timeout(bounds.receive, receive).await;
    let bytes = received.map_err(|_| Refusal::Slow(bounds.receive.as_secs()))??;
    Ok(Received { bytes, place })
}
