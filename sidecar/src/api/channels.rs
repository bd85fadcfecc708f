//! `GET /channels`, `GET /channels/{name}`, `GET /channels/{name}/latest`: the ring's channels.
//!
//! The name is one segment of the path, so a `/` in it is written `%2F`. Nothing here needs the key, nor tells it; but
//! whoever may ask for these may ask for the key as well.

use std::iter::once;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use framebuffer::{FrameBufferServer, Latest};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Problem, Refused};
use crate::pieces;
use crate::report::{ChannelFigures, ChannelReport, LatestReport};
use crate::ring::CurrentRing;

/// The channels of the ring.
#[derive(Serialize, ToSchema)]
pub struct ChannelsResponse {
    /// Sorted by name. A ring has 64 at most.
    channels: Vec<ChannelFigures>,
}

/// All channels.
#[utoipa::path(
    get,
    path = "/channels",
    responses(
        (status = 200, description = "The channels.", body = ChannelsResponse),
        (status = 500, description = "The ring is out of order.",
            body = Problem, content_type = "application/problem+json"),
        Refused,
    )
)]
pub(super) async fn channels(State(current): State<CurrentRing>) -> Result<impl IntoResponse, Problem> {
    let ring = current.get().ok_or_else(Problem::no_ring)?;
    let names: Vec<_> = ring.channels()?.into_iter().map(|channel| channel.name).collect();
    // Each is looked at anew, when there is room to send it. Channels go only with their ring.
    let found = names.into_iter().filter_map(move |name| current.get()?.channel(&name).ok().flatten());
    let items = found.enumerate().map(|(number, channel)| {
        // Serialising strings and numbers cannot fail.
        let json = serde_json::to_string(&ChannelFigures::from(&channel)).unwrap_or_default();
        if number == 0 { json } else { format!(",{json}") }
    });
    let pieces = once("{\"channels\":[".to_owned()).chain(items).chain(once("]}".to_owned()));
    Ok(([(header::CONTENT_TYPE, "application/json")], pieces::body(pieces)))
}

/// One channel.
#[utoipa::path(
    get,
    path = "/channels/{name}",
    params(("name" = String, Path, min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9._/-]+$",
        description = "The channel's name, each `/` in it written `%2F`.")),
    responses(
        (status = 200, description = "The channel.", body = ChannelReport),
        (status = 400, description = "No channel can have that name.",
            body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The ring has no such channel.",
            body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The ring is out of order.",
            body = Problem, content_type = "application/problem+json"),
        Refused,
    )
)]
pub(super) async fn channel(
    State(ring): State<CurrentRing>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<ChannelReport>, Problem> {
    let (name, ring) = of_channel(name, &ring)?;
    let found = ring.channel(&name).map_err(|error| Problem::of_channel(&name, error))?;
    found.map(|info| Json(info.into())).ok_or_else(|| Problem::no_channel(&name))
}

/// The description of the last frame of a channel. It holds nothing: the frame may be overwritten before it is read.
#[utoipa::path(
    get,
    path = "/channels/{name}/latest",
    params(("name" = String, Path, min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9._/-]+$",
        description = "The channel's name, each `/` in it written `%2F`.")),
    responses(
        (status = 200, description = "The frame's description.", body = LatestReport),
        (status = 400, description = "No channel can have that name.",
            body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The ring has no such channel, or nothing was sent over it yet.",
            body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The last frame was overwritten; `number` says which one it was.",
            body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The ring is out of order.",
            body = Problem, content_type = "application/problem+json"),
        Refused,
    )
)]
pub(super) async fn latest(
    State(ring): State<CurrentRing>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<LatestReport>, Problem> {
    let (name, ring) = of_channel(name, &ring)?;
    match ring.latest(&name).map_err(|error| Problem::of_channel(&name, error))? {
        Latest::There(frame) => Ok(Json(LatestReport::new(name, &frame))),
        Latest::NothingSent => Err(Problem::nothing_sent(&name)),
        Latest::Overwritten { number } => Err(Problem::overwritten(&name, number)),
        _ => Err(Problem::no_channel(&name)),
    }
}

fn of_channel(
    name: Result<Path<String>, PathRejection>,
    ring: &CurrentRing,
) -> Result<(String, std::sync::Arc<FrameBufferServer>), Problem> {
    let Path(name) = name.map_err(|error| Problem::channel_name(&error.body_text()))?;
    Ok((name, ring.get().ok_or_else(Problem::no_ring)?))
}
