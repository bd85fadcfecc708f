//! `GET /get_key`: the ring's key and size.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Problem, Refused};
use crate::ring::CurrentRing;

/// A client opens the ring with it.
#[derive(Serialize, ToSchema)]
pub struct KeyResponse {
    /// Names the ring's file, `framebuffer-<key>`, in the shared folder.
    key: String,
    /// Bytes of payload that the ring keeps, and the size of the largest frame.
    size: u64,
}

/// The key with which to open the ring.
#[utoipa::path(
    get,
    path = "/get_key",
    responses(
        (status = 200, description = "The key and size.", body = KeyResponse),
        Refused,
    )
)]
pub(super) async fn get_key(State(ring): State<CurrentRing>) -> Result<Json<KeyResponse>, Problem> {
    let ring = ring.get().ok_or_else(Problem::no_ring)?;
    Ok(Json(KeyResponse { key: ring.get_key().to_owned(), size: ring.size() }))
}
