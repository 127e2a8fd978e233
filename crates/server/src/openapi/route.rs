//! Handler of `/openapi.json`, which collects the descriptions of all APIs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use serde_json::Value;

use super::description::Description;
use super::own;
use crate::anthropic::description as anthropic;
use crate::app::App;
use crate::ollama::description as ollama;
use crate::openai::description as openai;

pub(crate) async fn description(State(app): State<Arc<App>>) -> Json<Value> {
    let mut all = Description::new(&app.facts.name, app.options.api_key.is_some());
    ollama::describe(&mut all);
    openai::describe(&mut all);
    anthropic::describe(&mut all);
    own::describe(&mut all);
    Json(all.into_json())
}
