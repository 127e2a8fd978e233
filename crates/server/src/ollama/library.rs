//! Handlers that list and manage models: there is exactly one, and it cannot be changed.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::reply;
use crate::app::App;
use crate::failure::Failure;

/// The version of Ollama whose API this is; clients refuse older ones.
const VERSION: &str = "0.13.5";

/// A request about a model.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::Named)]
pub(super) struct Named {
    /// The model's name.
    model: Option<String>,
    /// The same, as older clients call it.
    name: Option<String>,
    /// Whether all of the file's metadata is wanted.
    verbose: Option<bool>,
    /// Whether the answer comes in lines, where it can; it does unless this says no.
    stream: Option<bool>,
}

/// What a model is to be made of.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::CreateBody)]
pub(super) struct CreateBody {
    /// Another model.
    from: Option<String>,
    /// Files, by their names.
    files: Option<Value>,
}

/// Which model is to have another name.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::CopyBody)]
pub(super) struct CopyBody {
    /// The model's name.
    #[schema(required = true)]
    #[serde(default)]
    source: String,
}

impl Named {
    fn name(&self) -> &str {
        self.model.as_deref().filter(|name| !name.is_empty()).or(self.name.as_deref()).unwrap_or("")
    }
}

pub(crate) async fn version() -> Response {
    reply::object(&json!({ "version": VERSION }))
}

pub(crate) async fn tags(State(app): State<Arc<App>>) -> Response {
    let facts = &app.facts;
    let mut model = listed(&app);
    model["modified_at"] = json!(reply::time(facts.modified));
    model["capabilities"] = json!(facts.capabilities());
    reply::object(&json!({ "models": [model] }))
}

pub(crate) async fn ps(State(app): State<Arc<App>>) -> Response {
    // The thread may not have come to it yet.
    if !app.service.snapshot().is_loaded || app.keep_alive.is_over() {
        return reply::object(&json!({ "models": [] }));
    }
    let mut model = listed(&app);
    model["expires_at"] = json!(reply::time(app.keep_alive.expires_at()));
    model["size_vram"] = json!(0);
    model["context_length"] = json!(app.facts.ctx);
    reply::object(&json!({ "models": [model] }))
}

fn listed(app: &App) -> Value {
    let facts = &app.facts;
    json!({
        "name": facts.name,
        "model": facts.name,
        "size": facts.file_bytes,
        "digest": facts.digest,
        "details": facts.details(),
    })
}

pub(crate) async fn show(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let wanted: Named = crate::body::read(&bytes)?;
    if wanted.name().is_empty() {
        return Err(Failure::bad_field("model", "model is required"));
    }
    app.check_name(wanted.name())?;
    let facts = &app.facts;
    let mut object = json!({
        "license": facts.license.clone().unwrap_or_default(),
        "modelfile": format!("# This model is a GGUF file that ssd-llm serves.\nFROM {}\n", facts.name),
        "parameters": "",
        "template": facts.template_source.clone().unwrap_or_else(|| "{{ .Prompt }}".to_owned()),
        "details": facts.details(),
        "model_info": facts.metadata(wanted.verbose == Some(true)),
        "capabilities": facts.capabilities(),
        "modified_at": reply::time(facts.modified),
    });
    if wanted.verbose == Some(true) {
        let tensor =
            |t: &model::gguf::TensorInfo| json!({ "name": t.name, "type": t.quant.format().name, "shape": t.shape });
        object["tensors"] = facts.spec.tensors.iter().map(tensor).collect();
    }
    Ok(reply::object(&object))
}

/// The model that there is has been pulled; others cannot be.
pub(crate) async fn pull(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let wanted: Named = crate::body::read(&bytes)?;
    if wanted.name().is_empty() {
        return Err(Failure::bad_field("model", "model is required"));
    }
    let is_streamed = wanted.stream != Some(false);
    let is_here = app.facts.is_named(wanted.name());
    let last = match is_here {
        true => json!({ "status": "success" }),
        false => {
            json!({ "error": format!("this server has the one model it was started with, {}: start it with another GGUF file for '{}'", app.facts.name, wanted.name()) })
        }
    };
    if !is_streamed {
        // A client that reads one object takes the status for the outcome.
        let refused = || Failure::not_found(last["error"].as_str().unwrap_or_default());
        return if is_here { Ok(reply::object(&last)) } else { Err(refused()) };
    }
    let first = reply::line(&json!({ "status": "pulling manifest" }));
    Ok(reply::lines((first + &reply::line(&last)).into()))
}

pub(crate) async fn push() -> Result<Response, Failure> {
    Err(Failure::bad("this server does not push models: it serves the GGUF file that it was started with"))
}

pub(crate) async fn create(bytes: Bytes) -> Result<Response, Failure> {
    let wanted: CreateBody = crate::body::read(&bytes)?;
    match (wanted.from, wanted.files) {
        (None, None) => Err(Failure::bad("neither 'from' or 'files' was specified")),
        _ => Err(Failure::bad("this server does not create models: start it with another GGUF file")),
    }
}

/// A second name for the model would be forgotten; what is not there is not found.
pub(crate) async fn copy(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let wanted: CopyBody = crate::body::read(&bytes)?;
    app.check_name(&wanted.source)?;
    Err(Failure::bad("this server keeps one model under one name: start it with --name for another"))
}

pub(crate) async fn delete(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let wanted: Named = crate::body::read(&bytes)?;
    app.check_name(wanted.name())?;
    Err(Failure::bad("this server does not delete its model's file"))
}

pub(crate) async fn blob() -> Result<Response, Failure> {
    Err(Failure::bad("this server takes no blobs: it serves the GGUF file that it was started with"))
}

pub(crate) async fn blob_head() -> Response {
    StatusCode::NOT_FOUND.into_response()
}
