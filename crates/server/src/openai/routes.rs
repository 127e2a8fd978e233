//! The routes of OpenAI's API.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::responses::handler::responses;
use super::{chat, completions, embeddings, models};
use crate::app::App;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/responses", post(responses))
}
