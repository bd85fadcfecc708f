//! `POST /allocate`: room for one frame or several.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use framebuffer::{FrameBufferServer, RingId};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::{MAX_BODY, MAX_COUNT};
use super::problem::Problem;
use crate::ring::CurrentRing;

/// Request for one frame or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllocateRequest {
    /// Bytes of payload of each frame.
    #[schema(minimum = 0)]
    size: u64,
    /// How many frames. If it is given, the answer has `offsets` instead of `offset`.
    #[schema(minimum = 1, maximum = 1024)]
    count: Option<u64>,
}

/// Where the allocated frames are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum AllocateResponse {
    /// To a request without `count`.
    One {
        /// The frame's stream offset.
        offset: u64,
        /// The ring that it is in, 16 hexadecimal digits: for the description of the frame. An offset means nothing in
        /// another ring.
        #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
        ring: RingId,
    },
    /// To a request with `count`.
    Several {
        /// The frames' stream offsets, in the order of their allocation.
        offsets: Vec<u64>,
        /// The ring that they are in, as above.
        #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
        ring: RingId,
    },
}

/// Allocates one frame, or `count` frames of the same size: all of them or none.
#[utoipa::path(
    post,
    path = "/allocate",
    request_body = AllocateRequest,
    responses(
        (status = 200, description = "The offset, or with `count` the offsets.", body = AllocateResponse),
        (status = 400, description = "The body is not as described.",
            body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A host that is not loopback, or a web page asks.",
            body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than the ring can hold, or a body beyond 4096 bytes.",
            body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as application/json.",
            body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The ring is out of order.",
            body = Problem, content_type = "application/problem+json"),
        (status = 503,
            description = "Readers and writers hold the whole ring, or it is being replaced. Retry-After says when to \
                try again.",
            body = Problem, content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "In seconds."))),
    )
)]
pub(super) async fn allocate(
    State(ring): State<CurrentRing>,
    request: Request,
) -> Result<Json<AllocateResponse>, Problem> {
    check_content_type(request.headers())?;
    let body = read(request.into_body()).await?;
    let AllocateRequest { size, count } = serde_json::from_slice(&body).map_err(|e| Problem::malformed(&e))?;
    let ring = ring.get().ok_or_else(Problem::no_ring)?;
    let id = ring.ring_id()?;
    let response = match count {
        None => AllocateResponse::One { offset: ring.allocate(size)?, ring: id },
        Some(count) => AllocateResponse::Several { offsets: allocate_several(&ring, size, count)?, ring: id },
    };
    Ok(Json(response))
}

/// Offsets of a request that fails half-way are dropped: nobody will write there, and the ring moves past them.
fn allocate_several(ring: &FrameBufferServer, size: u64, count: u64) -> Result<Vec<u64>, Problem> {
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(Problem::count_out_of_range(count));
    }
    // With their headers, or the last ones would overwrite the first.
    let most = ring.frames_kept(size);
    if count > most && size <= ring.size() {
        return Err(Problem::together_larger_than_ring(size, count, most));
    }
    Ok((0..count).map(|_| ring.allocate(size)).collect::<Result<_, _>>()?)
}

/// A browser lets a page of any site POST other content types without asking; so this check also keeps web
/// pages away from the ring.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let found = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("(not text)"));
    let essence = found.map(|value| value.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Problem::content_type(found)),
    }
}

/// Copies: a piece of a body takes 32 bytes by itself, however short it is, and somebody may send single bytes.
async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let mut body = Limited::new(body, MAX_BODY);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let too_long = error.is::<LengthLimitError>();
            if too_long { Problem::body_too_long() } else { Problem::unreadable(&error) }
        })?;
        // What is no data is a trailer, and those say nothing here.
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}
