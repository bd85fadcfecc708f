//! Sends arbitrary bodies to the sidecar's API. Whatever comes is answered: with offsets, or with a problem document
//! that does not give the key away.
//!
//! `cargo +nightly fuzz run http_bodies -- -max_total_time=60`
#![no_main]

use std::cell::LazyCell;
use std::sync::Arc;

use arbitrary::Arbitrary;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use framebuffer::{FrameBufferServer, Key, Prefault};
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const KEY: &str = "a-key-that-nobody-guesses";

#[derive(Arbitrary, Debug)]
struct Call<'a> {
    path: Path,
    content_type: ContentType<'a>,
    body: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Path {
    Allocate,
    GetKey,
    Other,
}

#[derive(Arbitrary, Debug)]
enum ContentType<'a> {
    Json,
    None,
    Whatever(&'a [u8]),
}

/// A sidecar's router over a ring of its own, and the runtime for it.
struct Sidecar {
    router: Router,
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Sidecar {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = Key::new(KEY).expect("a valid key");
        let ring = FrameBufferServer::options(1 << 20).key(key).dir(dir.path()).prefault(Prefault::Off).start();
        let router = framebuffer_sidecar::api::router(Arc::new(ring.expect("room for 1 MiB")));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { router, runtime, _dir: dir }
    }

    fn call(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.expect("a router answers");
            let status = answer.status();
            (status, answer.into_body().collect().await.expect("a whole body").to_bytes().to_vec())
        })
    }
}

thread_local! {
    static SIDECAR: LazyCell<Sidecar> = LazyCell::new(Sidecar::new);
}

fuzz_target!(|call: Call<'_>| {
    let uri = match call.path {
        Path::Allocate => "/allocate",
        Path::GetKey => "/get_key",
        Path::Other => "/allocate/",
    };
    let request = Request::post(uri);
    let request = match call.content_type {
        ContentType::Json => request.header("content-type", "application/json"),
        ContentType::None => request,
        ContentType::Whatever(value) => request.header("content-type", value),
    };
    // A header value with control characters is refused before it could be sent.
    let Ok(request) = request.body(Body::from(call.body.to_vec())) else { return };
    let (status, body) = SIDECAR.with(|sidecar| sidecar.call(request));
    let text = String::from_utf8(body).expect("JSON is UTF-8");
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(!text.contains(KEY), "the key is only for GET /get_key: {text}");
    if status == StatusCode::OK {
        let offsets = answer["offsets"].as_array().cloned().unwrap_or_else(|| vec![answer["offset"].clone()]);
        assert!(offsets.iter().all(|offset| offset.as_u64().is_some_and(|offset| offset % 64 == 0)), "{text}");
    } else {
        assert!(status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {text}");
        assert!(answer["title"].is_string() && answer["status"] == status.as_u16(), "{text}");
    }
});
