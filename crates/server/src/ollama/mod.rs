//! Ollama's API, `/api/*`, as its clients use it.
//!
//! Streams are lines of JSON, and are what a request gets unless it says otherwise. Durations are nanoseconds; what is zero is
//! left out. Source: ollama's `docs/api.md` and `api/types.go`.

mod chat;
mod description;
mod embed;
mod generate;
mod go_template;
mod library;
mod lines;
mod options;
mod reply;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::json;

pub(crate) use self::description::{describe, error_schema};
use crate::app::App;
use crate::failure::Failure;

/// The version of Ollama whose API this is; clients refuse what is too old.
pub(crate) const VERSION: &str = "0.13.5";

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/version", get(library::version))
        .route("/api/tags", get(library::tags))
        .route("/api/ps", get(library::ps))
        .route("/api/show", post(library::show))
        .route("/api/generate", post(generate::generate))
        .route("/api/chat", post(chat::chat))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings))
        .route("/api/pull", post(library::pull))
        .route("/api/push", post(library::push))
        .route("/api/create", post(library::create))
        .route("/api/copy", post(library::copy))
        .route("/api/delete", delete(library::delete))
        .route("/api/blobs/{digest}", post(library::blob).head(library::blob_head))
}

/// `{"error": "..."}`, with the status.
pub(crate) fn error(failure: &Failure) -> Response {
    let mut response = (failure.status, axum::Json(json!({ "error": failure.message }))).into_response();
    if failure.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("5"));
    }
    response
}

/// A handler's result as a response.
pub(crate) fn respond(result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(|failure| error(&failure))
}
