//! OpenAI's API, `/v1/*`.

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

/// OpenAI's error object, with the status.
pub(crate) fn error(failure: &Failure) -> Response {
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
        StatusCode::NOT_FOUND if failure.param == Some("model") => json!("model_not_found"),
        StatusCode::UNAUTHORIZED => json!("invalid_api_key"),
        _ if failure.too_long.is_some() => json!("context_length_exceeded"),
        _ => json!(null),
    };
    let mut object = json!({ "message": failure.message, "type": kind, "param": failure.param, "code": code });
    if let Some((n_prompt_tokens, n_ctx)) = failure.too_long {
        object["n_prompt_tokens"] = json!(n_prompt_tokens);
        object["n_ctx"] = json!(n_ctx);
    }
    let mut response = (failure.status, axum::Json(json!({ "error": object }))).into_response();
    if failure.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("5"));
    }
    response
}
