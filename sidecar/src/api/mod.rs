//! The API that programs in the pod use: `GET /get_key`, `POST /allocate`, `GET /channels` and below,
//! `GET /openapi.json`.
//!
//! [`allocate`] is the one that has to be fast: no middleware is in front of it. Whatever fails is a [`problem`].
//! [`guard`] says whom a listener lets in; it looks at a request before the routes do.

use std::future::ready;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub mod allocate;
pub mod channels;
pub mod guard;
pub mod key;
pub mod limits;
pub mod problem;

use crate::ring::CurrentRing;
use problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(title = "FrameBuffer sidecar", description = "Key, frames and channels of a ring in shared memory."),
    paths(openapi_json)
)]
struct Document;

/// All routes, serving `ring`.
pub fn router(ring: impl Into<CurrentRing>) -> Router {
    let (router, document) = documented_routes().split_for_parts();
    // Serialising strings and numbers cannot fail.
    let document = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    router
        .route("/openapi.json", get(move || ready(openapi_json(document.clone()))))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(ring.into())
}

/// The routes whose entry in the OpenAPI document is made from the same function.
fn documented_routes() -> OpenApiRouter<CurrentRing> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(key::get_key))
        .routes(routes!(allocate::allocate))
        .routes(routes!(channels::channels))
        .routes(routes!(channels::channel))
        .routes(routes!(channels::latest))
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses(
        (status = 200, description = "The API as an OpenAPI document.", content_type = "application/json"),
        (status = 403, description = "A host that is not loopback, or a web page asks.",
            body = Problem, content_type = "application/problem+json"),
    )
)]
fn openapi_json(document: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(uri.path())
}

/// axum adds the `Allow` header.
async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(&method, uri.path())
}

#[cfg(test)]
mod tests;
