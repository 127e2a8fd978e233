//! Handlers of `/v1/models`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::reply::{object, seconds};
use crate::app::App;
use crate::failure::Failure;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    object(&json!({ "object": "list", "data": [model(&app)] }))
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    // What cannot be decoded is no model's name.
    let id = id.map(|Path(id)| id).unwrap_or_default();
    app.check_name(&id)?;
    Ok(object(&model(&app)))
}

fn model(app: &App) -> Value {
    let created = seconds(app.facts.modified);
    json!({ "id": app.facts.name, "object": "model", "created": created, "owned_by": "library" })
}
