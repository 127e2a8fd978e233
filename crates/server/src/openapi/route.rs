//! The route of the description, which collects what each API says of itself.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::description::Description;
use super::own;
use crate::anthropic::description as anthropic;
use crate::app::App;
use crate::ollama::description as ollama;
use crate::openai::description as openai;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/openapi.json", get(description))
}

async fn description(State(app): State<Arc<App>>) -> Json<Value> {
    let mut all = Description::new(&app.facts.name, app.options.api_key.is_some());
    ollama::describe(&mut all);
    openai::describe(&mut all);
    anthropic::describe(&mut all);
    own::describe(&mut all);
    Json(all.into_json())
}
