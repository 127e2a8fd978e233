//! What all of OpenAI's answers share: errors, objects, events, ids and the model's name.

use std::time::SystemTime;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::failure::Failure;

/// A comment, sent to keep a connection open.
pub(super) const IDLE: &str = ": keep-alive\n\n";

/// The end of a stream.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// OpenAI's error object, with the status.
pub(crate) fn error(failure: &Failure) -> Response {
    (failure.status, axum::Json(error_object(failure))).into_response()
}

fn error_object(failure: &Failure) -> Value {
    let kind = match failure.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable_error",
        StatusCode::NOT_IMPLEMENTED => "not_supported_error",
        status if status.is_server_error() => "server_error",
        _ if failure.too_long.is_some() => "exceed_context_size_error",
        _ => "invalid_request_error",
    };
    let code = match failure.status {
        StatusCode::NOT_FOUND if failure.param.as_deref() == Some("model") => json!("model_not_found"),
        StatusCode::UNAUTHORIZED => json!("invalid_api_key"),
        _ if failure.too_long.is_some() => json!("context_length_exceeded"),
        _ => json!(null),
    };
    let mut object = json!({ "message": failure.message, "type": kind, "param": failure.param, "code": code });
    if let Some((n_prompt_tokens, n_ctx)) = failure.too_long {
        object["n_prompt_tokens"] = json!(n_prompt_tokens);
        object["n_ctx"] = json!(n_ctx);
    }
    json!({ "error": object })
}

/// A response of one object.
pub(super) fn object(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}

/// A response of events.
pub(super) fn events(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // A proxy that collects the events of a stream would show them all at its end.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

/// An unnamed event.
pub(super) fn event(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("what is sent can be written as JSON");
    format!("data: {json}\n\n")
}

/// The event that ends a failed stream.
pub(super) fn error_event(failure: &Failure) -> String {
    event(&error_object(failure))
}

/// A unique id.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::random::<u128>())
}

/// The current time in seconds.
pub(super) fn now() -> u64 {
    seconds(SystemTime::now())
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Identifies the model in answers.
pub(super) fn fingerprint(app: &App) -> String {
    format!("fp_{}", app.facts.digest.get(..10).unwrap_or("unknown"))
}

/// The model name as the client wrote it, by default the actual one.
///
/// Errors: it is the name of another model.
pub(super) fn model_name(app: &App, name: Option<String>) -> Result<String, Failure> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| app.facts.name.clone());
    app.check_name(&name)?;
    Ok(name)
}
