//! The routes of Ollama's API.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use super::{chat, embed, generate, library};
use crate::app::App;

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
