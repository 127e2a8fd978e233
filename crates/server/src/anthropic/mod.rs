//! Anthropic's API, `/v1/messages`.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::failure::Failure;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
}

/// Anthropic's error object, with the status.
pub(crate) fn error(failure: &Failure) -> Response {
    let kind = match failure.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    let object = json!({ "type": "error", "error": { "type": kind, "message": failure.message } });
    let mut response = (failure.status, axum::Json(object)).into_response();
    if failure.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("5"));
    }
    response
}
