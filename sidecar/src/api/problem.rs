//! [`Problem`]: every failure, as an RFC 9457 problem document. No problem contains the key.

use std::fmt::Display;

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use framebuffer::{ChannelError, Error};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::limits::{MAX_BODY, MAX_COUNT, MAX_NAME};

/// An RFC 9457 problem document.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem, for programs.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Which kind of problem, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The fault of this request.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// The value that was too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    /// The largest value possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Number of the channel's last frame, if that was overwritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// Bytes of the largest frame that would have fitted between those that are held, if the ring is exhausted.
    #[serde(skip_serializing_if = "Option::is_none")]
    largest_free: Option<u64>,
}

/// What any request may be answered, for the description of the API.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Refused {
    /// A host that is not loopback, or a web page asks.
    #[response(status = 403, content_type = "application/problem+json")]
    Host(Problem),
    /// The ring is being replaced. Retry-After says when to try again.
    #[response(status = 503, content_type = "application/problem+json",
        headers(("Retry-After" = u64, description = "In seconds.")))]
    NoRing(Problem),
}

/// Seconds after which an exhausted ring is worth another try. The header has no smaller unit.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Longest piece of a request that is repeated in an answer, in characters.
const MAX_QUOTE: usize = 100;

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let (status, detail) = (status.as_u16(), detail.into().into_boxed_str());
        Self { kind, title, status, detail, value: None, limit: None, number: None, largest_free: None }
    }

    fn limited(self, value: u64, limit: u64) -> Self {
        Self { value: Some(value), limit: Some(limit), ..self }
    }

    pub(super) fn malformed(error: &serde_json::Error) -> Self {
        let detail = format!("the body is not {{\"size\": BYTES}} or {{\"size\": BYTES, \"count\": N}}: {error}");
        Self::new(StatusCode::BAD_REQUEST, "urn:framebuffer:problem:malformed", "Malformed request", detail)
    }

    pub(super) fn unreadable(error: &impl Display) -> Self {
        let detail = format!("the body could not be read: {error}");
        Self::new(StatusCode::BAD_REQUEST, "urn:framebuffer:problem:malformed", "Malformed request", detail)
    }

    pub(super) fn count_out_of_range(count: u64) -> Self {
        let detail = format!("count is {count}, it has to be 1 to {MAX_COUNT}");
        Self::new(StatusCode::BAD_REQUEST, "urn:framebuffer:problem:count", "Count out of range", detail)
            .limited(count, MAX_COUNT)
    }

    pub(super) fn content_type(found: Option<&str>) -> Self {
        let found = found.map_or("missing".to_owned(), |found| format!("`{}`", quote(found)));
        let detail = format!("the content type is {found}, it has to be application/json");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "urn:framebuffer:problem:content-type", "Not application/json", detail)
    }

    pub(super) fn body_too_long() -> Self {
        let detail = format!("the body is longer than the limit of {MAX_BODY} bytes");
        let problem =
            Self::new(StatusCode::PAYLOAD_TOO_LARGE, "urn:framebuffer:problem:body-too-long", "Body too long", detail);
        Self { limit: Some(MAX_BODY as u64), ..problem }
    }

    pub(super) fn together_larger_than_ring(size: u64, count: u64, most: u64) -> Self {
        let detail = format!(
            "{count} frames of {size} bytes are together larger than the ring, which keeps {most} of them with their \
             headers: the last would overwrite the first"
        );
        larger_than_ring(detail).limited(count, most)
    }

    pub(super) fn foreign_host(host: &str) -> Self {
        let detail = format!(
            "the host `{}` is not a name of loopback; it has to be localhost or an address as 127.0.0.1 or [::1], \
             so that no web page can read the key under a name of its own",
            quote(host)
        );
        Self::new(StatusCode::FORBIDDEN, "urn:framebuffer:problem:host", "Not a name of loopback", detail)
    }

    pub(super) fn web_page(header: &str, value: &str) -> Self {
        let detail =
            format!("the request comes from a web page, as {header}: `{}` says; programs don't send it", quote(value));
        Self::new(StatusCode::FORBIDDEN, "urn:framebuffer:problem:web-page", "Asked by a web page", detail)
    }

    pub(super) fn no_ring() -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let detail = "the ring is being set up: ask again";
        Self::new(status, "urn:framebuffer:problem:no-ring", "There is no ring now", detail)
    }

    /// The fault of a request for the channel with this name.
    pub(super) fn of_channel(name: &str, error: Error) -> Self {
        let Error::Channel(error) = error else { return error.into() };
        match error {
            ChannelError::NameEmpty | ChannelError::NameTooLong { .. } => {
                let detail = format!(
                    "the name of a channel has 1 to {MAX_NAME} bytes, and not {}: `{}`",
                    name.len(),
                    quote(name)
                );
                Self::channel_name(&detail).limited(name.len() as u64, MAX_NAME)
            }
            error => Self::channel_name(&error.to_string()),
        }
    }

    pub(super) fn channel_name(detail: &str) -> Self {
        let kind = "urn:framebuffer:problem:channel-name";
        Self::new(StatusCode::BAD_REQUEST, kind, "Not a channel's name", detail)
    }

    pub(super) fn no_channel(name: &str) -> Self {
        let detail = format!(
            "the ring has no channel `{name}`: it is made when somebody first publishes on it or subscribes to it; \
             /channels lists those that there are"
        );
        Self::new(StatusCode::NOT_FOUND, "urn:framebuffer:problem:no-channel", "No such channel", detail)
    }

    pub(super) fn nothing_sent(name: &str) -> Self {
        let detail = format!("nothing was sent over channel `{name}` yet");
        Self::new(StatusCode::NOT_FOUND, "urn:framebuffer:problem:nothing-sent", "Nothing was sent yet", detail)
    }

    pub(super) fn overwritten(name: &str, number: u64) -> Self {
        let detail = format!(
            "frame {number}, the last of channel `{name}`, was overwritten: its publisher keeps no frame, or has ended"
        );
        let kind = "urn:framebuffer:problem:overwritten";
        Self { number: Some(number), ..Self::new(StatusCode::GONE, kind, "The last frame was overwritten", detail) }
    }

    pub(super) fn not_found(path: &str) -> Self {
        let in_channels = path.strip_prefix("/channels/");
        if in_channels.is_some_and(|rest| rest.is_empty() || rest == "/latest") {
            return Self::of_channel("", ChannelError::NameEmpty.into());
        }
        let remedy = if in_channels.is_some() {
            "a `/` in the name of a channel is written `%2F`, as in /channels/robot%2Fdepth/latest"
        } else {
            "/openapi.json lists the paths"
        };
        let detail = format!("`{}` does not exist; {remedy}", quote(path));
        Self::new(StatusCode::NOT_FOUND, "about:blank", "Not Found", detail)
    }

    pub(super) fn method_not_allowed(method: &Method, path: &str) -> Self {
        let detail =
            format!("{} is not allowed on `{}`; the header Allow lists methods", quote(method.as_str()), quote(path));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "about:blank", "Method Not Allowed", detail)
    }
}

fn larger_than_ring(detail: String) -> Problem {
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    Problem::new(status, "urn:framebuffer:problem:larger-than-ring", "Larger than the ring", detail)
}

/// The beginning of a text from a request.
fn quote(text: &str) -> &str {
    text.char_indices().nth(MAX_QUOTE).map_or(text, |(end, _)| &text[..end])
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::LargerThanRing { size, limit } => larger_than_ring(detail).limited(size, limit),
            Error::Exhausted { largest_free, .. } => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let held = Self::new(status, "urn:framebuffer:problem:exhausted", "The whole ring is held", detail);
                Self { largest_free: Some(largest_free), ..held }
            }
            // No other error of the ring is the caller's fault.
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "the ring is out of order");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "urn:framebuffer:problem:ring", "The ring is out of order", detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // The status that the type holds is made of a StatusCode, and serialising strings and numbers cannot fail.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
