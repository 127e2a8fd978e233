//! Anthropic's error object, and the ids in its answers.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Anthropic's error object, with the status.
pub(crate) fn error(failure: &Failure) -> Response {
    let id = id("req");
    let body = axum::Json(error_object(failure, &id));
    (failure.status, [("request-id", id)], body).into_response()
}

pub(super) fn error_object(failure: &Failure, id: &str) -> Value {
    let kind = match failure.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    let message = match failure.too_long {
        // Claude Code knows these words, and makes its conversation shorter. One token at least is for the answer.
        Some((prompt, ctx)) => {
            format!("prompt is too long: {prompt} tokens > {} maximum", ctx.saturating_sub(1))
        }
        None => failure.message.clone(),
    };
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": id })
}

/// A unique id with a prefix: `msg_` and 24 digits.
pub(super) fn id(kind: &str) -> String {
    format!("{kind}_{:024x}", rand::random::<u128>() >> 32)
}
