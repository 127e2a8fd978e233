//! The routes of Anthropic's API.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use super::messages;
use crate::app::App;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/messages", post(messages::messages))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
}
