//! [`FakeApi`]: an API server of a few lines, for tests of requests to it and of reactions to its responses.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};

use crate::api::FrameBuffer;

/// A request: method, path with query, body.
pub(crate) type Asked = (String, String, Value);

/// Answers requests by a function, and remembers them.
#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeApi {
    /// A client of it. `None` is answered as not found, a `Status` with its code.
    pub(crate) fn client(&self, answer: impl Fn(&Asked) -> Option<Value> + Send + Sync + 'static) -> Client {
        let (asked, answer) = (Arc::clone(&self.asked), Arc::new(answer));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                let request = (parts.method.to_string(), parts.uri.to_string(), body);
                let found = answer(&request);
                asked.lock().unwrap().push(request);
                let missing = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"});
                let answer = found.unwrap_or(missing);
                let failure = answer["kind"] == "Status";
                let status = if failure { answer["code"].as_u64().unwrap_or(500) as u16 } else { 200 };
                let body = Body::from(answer.to_string());
                Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Methods and paths of what was asked, without queries.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |(method, uri, _): &Asked| format!("{method} {}", uri.split('?').next().unwrap_or_default());
        self.asked().iter().map(path).collect()
    }
}

/// A `FrameBuffer` named `ring` in the namespace `video`.
#[allow(clippy::needless_pass_by_value, reason = "tests write their JSON in place")]
pub(crate) fn framebuffer(spec: Value) -> FrameBuffer {
    serde_json::from_value(json!({
        "apiVersion": "framebuffer.dev/v1alpha1",
        "kind": "FrameBuffer",
        "metadata": {"name": "ring", "namespace": "video", "uid": "fb", "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}
