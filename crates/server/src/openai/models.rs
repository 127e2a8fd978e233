//! `/v1/models`: the model that there is.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::reply::{object, respond, seconds};
use crate::app::App;

#[derive(Debug, Serialize)]
struct Models {
    object: &'static str,
    data: [Model; 1],
}

#[derive(Debug, Serialize)]
struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    object(&Models { object: "list", data: [model(&app)] })
}

pub(super) async fn one(State(app): State<Arc<App>>, id: Result<Path<String>, PathRejection>) -> Response {
    // What cannot be decoded is no model's name.
    let id = id.map(|Path(id)| id).unwrap_or_default();
    respond(app.check_name(&id).map(|()| object(&model(&app))))
}

fn model(app: &App) -> Model {
    Model { id: app.facts.name.clone(), object: "model", created: seconds(app.facts.modified), owned_by: "library" }
}
