//! The routes, each answer asked for by `oneshot`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, header};
use framebuffer::{FrameBufferServer, Key};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;

mod channels;

const KEY: &str = "a-key-that-must-not-leak";
const SIZE: u64 = 1 << 20;

/// A ring of [`SIZE`] bytes in a folder of its own, and its routes.
struct Api {
    router: Router,
    ring: Arc<FrameBufferServer>,
    dir: TempDir,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Api {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::new(KEY).unwrap();
        let ring = FrameBufferServer::options(SIZE).key(key).dir(dir.path()).start().unwrap();
        let ring = Arc::new(ring);
        Self { router: router(Arc::clone(&ring)), ring, dir }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn request(&self, method: &str, path: &str) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    async fn allocate(&self, body: impl Into<Body>) -> Answer {
        self.allocate_as("application/json", body).await
    }

    async fn allocate_as(&self, content_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post("/allocate").header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
        self.send(request).await
    }

    fn client(&self) -> framebuffer::FrameBufferClient {
        framebuffer::FrameBufferClient::options(Key::new(KEY).unwrap()).dir(self.dir.path()).open().unwrap()
    }

    fn head(&self) -> u64 {
        self.ring.stats().unwrap().head
    }
}

/// Checks the fields of every problem, and that `words` are in its detail.
fn assert_problem(answer: &Answer, status: u16, words: &[&str]) {
    let text = &answer.text;
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(problem["type"].as_str().is_some_and(|kind| !kind.is_empty()), "{text}");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{text}");
    let detail = problem["detail"].as_str().unwrap();
    for word in words {
        assert!(detail.contains(word), "`{word}` is not in: {detail}");
    }
    assert!(!text.contains(KEY), "{text}");
}

#[tokio::test]
async fn get_key_says_key_and_size() {
    let answer = Api::new().request("GET", "/get_key").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({ "key": KEY, "size": SIZE }));
}

#[tokio::test]
async fn an_allocated_frame_can_be_written_and_read() {
    let api = Api::new();
    let answer = api.allocate(r#"{"size": 5}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let offset = answer.json()["offset"].as_u64().unwrap();
    let client = api.client();
    let checksum = client.write(offset, b"hello").unwrap();
    assert_eq!(client.read(offset, 5, checksum).unwrap(), b"hello");
    // The answer, the size and the checksum are a whole description.
    let (mut description, written) = (answer.json(), json!({ "size": 5, "checksum": checksum.to_string() }));
    description.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
    let frame: framebuffer::Frame = serde_json::from_value(description).unwrap();
    assert_eq!(frame.ring, Some(client.ring_id().unwrap()));
    assert_eq!(client.read_frame(&frame).unwrap(), b"hello");
}

#[tokio::test]
async fn with_a_count_there_are_as_many_offsets_each_for_its_own_frame() {
    let api = Api::new();
    for count in [1, 2, 1024] {
        let answer = api.allocate(json!({ "size": 100, "count": count }).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let offsets: Vec<u64> = serde_json::from_value(answer.json()["offsets"].clone()).unwrap();
        assert_eq!(offsets.len(), count);
        assert!(offsets.windows(2).all(|pair| pair[1] >= pair[0] + 100), "{offsets:?}");
        assert_eq!(answer.json()["ring"].as_str().map(str::len), Some(16));
    }
}

#[tokio::test]
async fn a_content_type_may_have_parameters_and_any_case() {
    let answer = Api::new().allocate_as("Application/JSON; charset=utf-8", r#"{"size": 1}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn what_is_not_the_described_json_is_malformed_and_moves_nothing() {
    let api = Api::new();
    let head = api.head();
    let cases = [
        ("", "EOF"),
        ("{", "EOF"),
        ("size=1", "expected value"),
        ("null", "expected struct AllocateRequest"),
        ("[]", "invalid length 0"),
        ("{}", "missing field `size`"),
        (r#"{"size": 1} x"#, "trailing characters"),
        (r#"{"size": 1, "size": 2}"#, "duplicate field `size`"),
        (r#"{"size": 1, "colour": "red"}"#, "unknown field `colour`"),
        (r#"{"size": -1}"#, "integer `-1`"),
        (r#"{"size": 1.5}"#, "floating point `1.5`"),
        (r#"{"size": "1"}"#, r#"string "1""#),
        (r#"{"size": null}"#, "null"),
        (r#"{"size": 18446744073709551616}"#, "1.8446744073709552e"),
        (r#"{"size": 1, "count": -1}"#, "integer `-1`"),
        (r#"{"size": 1, "count": 1.5}"#, "floating point `1.5`"),
    ];
    for (body, word) in cases {
        let answer = api.allocate(body).await;
        assert_problem(&answer, 400, &["the body is not", word]);
    }
    let answer = api.allocate(vec![0xff, 0xfe]).await;
    assert_problem(&answer, 400, &["the body is not"]);
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn a_count_out_of_range_is_refused_with_its_limit() {
    let api = Api::new();
    for count in [0, 1025, u64::MAX] {
        let answer = api.allocate(json!({ "size": 1, "count": count }).to_string()).await;
        assert_problem(&answer, 400, &[&format!("count is {count}"), "1 to 1024"]);
        assert_eq!(answer.json()["value"], count);
        assert_eq!(answer.json()["limit"], 1024);
    }
}

#[tokio::test]
async fn a_frame_as_large_as_the_ring_fits_and_a_larger_one_is_refused_with_the_limit() {
    let api = Api::new();
    assert_eq!(api.allocate(json!({ "size": SIZE }).to_string()).await.status, 200);
    for size in [SIZE + 1, u64::MAX] {
        for count in [Value::Null, json!(2)] {
            let answer = api.allocate(json!({ "size": size, "count": count }).to_string()).await;
            assert_problem(&answer, 413, &[&size.to_string(), "larger than the ring", &SIZE.to_string()]);
            assert_eq!(answer.json()["value"], size);
            assert_eq!(answer.json()["limit"], SIZE);
        }
    }
}

#[tokio::test]
async fn frames_that_would_overwrite_each_other_are_refused() {
    let api = Api::new();
    let head = api.head();
    let answer = api.allocate(json!({ "size": SIZE / 10, "count": 11 }).to_string()).await;
    assert_problem(&answer, 413, &["11 frames", "together larger than the ring"]);
    assert_eq!(api.head(), head);
    assert_eq!(api.allocate(json!({ "size": SIZE / 10, "count": 10 }).to_string()).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_refused_with_what_it_is() {
    let api = Api::new();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let answer = api.allocate_as(content_type, r#"{"size": 1}"#).await;
        assert_problem(&answer, 415, &[content_type, "application/json"]);
    }
    let undeclared = Request::post("/allocate").body(Body::from(r#"{"size": 1}"#)).unwrap();
    assert_problem(&api.send(undeclared).await, 415, &["missing"]);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let api = Api::new();
    let padded = |len: usize| format!("{:<len$}", r#"{"size": 1}"#);
    assert_eq!(api.allocate(padded(limits::MAX_BODY)).await.status, 200);
    let answer = api.allocate(padded(limits::MAX_BODY + 1)).await;
    assert_problem(&answer, 413, &["limit of 4096 bytes"]);
    assert_eq!(answer.json()["limit"], 4096);
}

#[tokio::test]
async fn an_exhausted_ring_says_when_to_try_again() {
    let api = Api::new();
    let client = api.client();
    let loan = client.loan(SIZE).unwrap();
    let head = api.head();
    for body in [json!({ "size": SIZE }), json!({ "size": SIZE / 2, "count": 2 })] {
        let answer = api.allocate(body.to_string()).await;
        assert_problem(&answer, 503, &["no room"]);
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert!(answer.json()["largest_free"].as_u64().unwrap() < SIZE, "{}", answer.text);
    }
    assert!(api.head() >= head);
    drop(loan);
    assert_eq!(api.allocate(json!({ "size": SIZE }).to_string()).await.status, 200);
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_say_what_there_is() {
    let api = Api::new();
    assert_problem(&api.request("GET", "/nothing").await, 404, &["/nothing", "/openapi.json"]);
    assert_problem(&api.request("GET", &format!("/{}", "x".repeat(5000))).await, 404, &["xxx"]);
    for (method, path, allowed) in
        [("GET", "/allocate", "POST"), ("POST", "/get_key", "GET"), ("PUT", "/get_key", "GET")]
    {
        let answer = api.request(method, path).await;
        assert_problem(&answer, 405, &[method, path]);
        assert!(answer.headers[header::ALLOW].to_str().unwrap().contains(allowed), "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn the_document_describes_every_route_and_every_status() {
    let api = Api::new();
    let answer = api.request("GET", "/openapi.json").await;
    assert_eq!((answer.status, &answer.headers[header::CONTENT_TYPE]), (200, &"application/json".parse().unwrap()));
    let document = answer.json();
    let paths = document["paths"].as_object().unwrap();
    let expected =
        ["/allocate", "/channels", "/channels/{name}", "/channels/{name}/latest", "/get_key", "/openapi.json"];
    assert_eq!(paths.keys().collect::<Vec<_>>(), expected);
    let client = api.client();
    client.publisher("camera").unwrap().send(b"a picture").unwrap();
    for (path, operations) in paths {
        let path = &path.replace("{name}", "camera");
        for method in operations.as_object().unwrap().keys() {
            let status = api.request(&method.to_uppercase(), path).await.status;
            assert!(![404, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    let statuses = paths["/allocate"]["post"]["responses"].as_object().unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), ["200", "400", "403", "413", "415", "500", "503"]);
    for (path, expected) in [
        ("/channels", &["200", "403", "500", "503"][..]),
        ("/channels/{name}", &["200", "400", "403", "404", "500", "503"]),
        ("/channels/{name}/latest", &["200", "400", "403", "404", "410", "500", "503"]),
    ] {
        let statuses = paths[path]["get"]["responses"].as_object().unwrap();
        assert_eq!(statuses.keys().collect::<Vec<_>>(), expected, "{path}");
    }
    let request = &document["components"]["schemas"]["AllocateRequest"];
    assert_eq!(request["properties"]["count"]["maximum"], limits::MAX_COUNT);
    assert_eq!(request["required"], json!(["size"]));
    assert!(document["components"]["schemas"]["Problem"]["properties"]["type"].is_object());
}
