//! [`ApiServer`]: keeps objects in memory; lists in pages, watches, creates, replaces, patches and deletes them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// An API server on loopback, until its runtime ends.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    state: Arc<Shared>,
}

struct Shared {
    objects: Mutex<Objects>,
    version: watch::Sender<usize>,
    /// Paths that were asked for.
    asked: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Objects {
    /// By their paths.
    all: BTreeMap<String, Value>,
    /// What happened: type, path, object. The version of an object is its place here, plus one.
    events: Vec<(&'static str, String, Value)>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let state =
            Arc::new(Shared { objects: Mutex::default(), version: watch::Sender::new(0), asked: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.state.put(path, object);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.objects().all.get(path).cloned()
    }

    /// How many requests there were for a path that ends like this.
    pub(crate) fn asked(&self, end: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    fn put(&self, path: &str, mut object: Value) -> Value {
        let mut objects = self.objects();
        let version = objects.events.len() + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let before = objects.all.insert(path.to_owned(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        objects.events.push((kind, path.to_owned(), object.clone()));
        drop(objects);
        self.version.send_replace(version);
        object
    }

    fn delete(&self, path: &str) -> Option<Value> {
        let mut objects = self.objects();
        let object = objects.all.remove(path)?;
        objects.events.push(("DELETED", path.to_owned(), object.clone()));
        let version = objects.events.len();
        drop(objects);
        self.version.send_replace(version);
        Some(object)
    }
}

/// Whether an object belongs to a list: of its namespace, or of all.
fn lists(list: &str, path: &str) -> bool {
    let collection = path.rsplit_once('/').map_or("", |(collection, _)| collection);
    if collection == list {
        return true;
    }
    let Some((before, rest)) = collection.split_once("/namespaces/") else { return false };
    let Some((_, plural)) = rest.split_once('/') else { return false };
    format!("{before}/{plural}") == list
}

/// Whether selectors of labels and of the name let it pass.
fn selected(object: &Value, query: &BTreeMap<String, String>) -> bool {
    let metadata = &object["metadata"];
    let field = query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
    let label = query.get("labelSelector").is_none_or(|selector| match selector.split_once('=') {
        Some((key, value)) => metadata["labels"][key] == value,
        None => metadata["labels"][selector].is_string(),
    });
    label && field.is_none_or(|name| metadata["name"] == name)
}

/// Names of resources are plural, and those of objects here have a hyphen or are singular.
fn is_collection(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.ends_with('s') && last.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let decode = |text: &str| text.replace("%3D", "=").replace("%2F", "/").replace('+', " ");
    pairs.map(|(key, value)| (key.to_owned(), decode(value))).collect()
}

fn failure(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": ""});
    (code, axum::Json(body)).into_response()
}

async fn handle(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let (path, query) = (uri.path().to_owned(), query(&uri));
    shared.asked.lock().unwrap().push(path.clone());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let missing = || failure(StatusCode::NOT_FOUND, "NotFound");
    let found = |object: Option<Value>| object.map_or_else(missing, |object| axum::Json(object).into_response());
    match method {
        Method::GET if query.contains_key("watch") => follow(shared, path, query),
        Method::GET => {
            let one = shared.objects().all.get(&path).cloned();
            match one {
                Some(object) => axum::Json(object).into_response(),
                None if is_collection(&path) => axum::Json(list(&shared, &path, &query)).into_response(),
                None => missing(),
            }
        }
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap_or("unnamed").to_owned();
            let path = format!("{path}/{name}");
            if shared.objects().all.contains_key(&path) {
                return failure(StatusCode::CONFLICT, "AlreadyExists");
            }
            (StatusCode::CREATED, axum::Json(shared.put(&path, body))).into_response()
        }
        Method::PUT => axum::Json(shared.put(&path, body)).into_response(),
        Method::DELETE => found(shared.delete(&path)),
        Method::PATCH => {
            let path = path.strip_suffix("/status").unwrap_or(&path).to_owned();
            let object = shared.objects().all.get(&path).cloned();
            found(object.map(|mut object| {
                match body {
                    Value::Array(operations) => operations.iter().for_each(|operation| apply(&mut object, operation)),
                    body => merge(&mut object, body),
                }
                shared.put(&path, object)
            }))
        }
        _ => missing(),
    }
}

fn list(shared: &Shared, path: &str, query: &BTreeMap<String, String>) -> Value {
    let objects = shared.objects();
    let from = query.get("continue").cloned().unwrap_or_default();
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let mut items = objects.all.range(from..).filter(|(key, object)| lists(path, key) && selected(object, query));
    let page: Vec<Value> = items.by_ref().take(limit).map(|(_, object)| object.clone()).collect();
    let next = items.next().map(|(key, _)| key.replace('+', " "));
    let metadata = json!({"resourceVersion": objects.events.len().to_string(), "continue": next});
    json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page})
}

/// Sends what happens from a version on, until the time is over that the client has set.
fn follow(shared: Arc<Shared>, path: String, query: BTreeMap<String, String>) -> Response {
    let number = |key: &str| query.get(key).and_then(|value| value.parse().ok());
    let seconds = number("timeoutSeconds").unwrap_or(300);
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = usize::try_from(number("resourceVersion").unwrap_or(0)).unwrap();
    let events = stream::unfold((start, shared.version.subscribe()), move |(mut next, mut version)| {
        let (shared, path, query) = (Arc::clone(&shared), path.clone(), query.clone());
        async move {
            loop {
                version.mark_unchanged();
                let lines = lines(&shared.objects(), &mut next, &path, &query);
                if !lines.is_empty() {
                    return Some((Ok::<_, Infallible>(lines), (next, version)));
                }
                timeout_at(end, version.changed()).await.ok()?.ok()?;
            }
        }
    });
    Body::from_stream(events).into_response()
}

/// What happened to the objects of a list from a version on.
fn lines(objects: &Objects, next: &mut usize, path: &str, query: &BTreeMap<String, String>) -> String {
    let mut lines = String::new();
    for (kind, key, object) in objects.events.get(*next..).into_iter().flatten() {
        if lists(path, key) && selected(object, query) {
            lines.push_str(&json!({"type": kind, "object": object}).to_string());
            lines.push('\n');
        }
    }
    *next = objects.events.len().max(*next);
    lines
}

/// An operation of a JSON patch that holds, or adds a field to an object.
fn apply(object: &mut Value, operation: &Value) {
    let (path, value) = (operation["path"].as_str().unwrap(), &operation["value"]);
    if operation["op"] == "test" {
        let found = object.pointer(path).unwrap_or(&Value::Null);
        return assert_eq!(found, value, "{path}");
    }
    assert_eq!(operation["op"], "add");
    let (parent, key) = path.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key.replace("~1", "/")] = value.clone();
}

/// A merge patch; lists of objects with names are merged by these.
fn merge(object: &mut Value, patch: Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(items), Value::Array(patches)) if items.iter().all(|item| item["name"].is_string()) => {
            for patch in patches {
                match items.iter_mut().find(|item| item["name"] == patch["name"]) {
                    Some(item) => merge(item, patch),
                    None => items.push(patch),
                }
            }
        }
        (object, patch) => *object = patch,
    }
}
