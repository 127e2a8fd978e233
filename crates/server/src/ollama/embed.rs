//! Handlers of `/api/embed` and the older `/api/embeddings`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::reply;
use crate::app::App;
use crate::embedding::{Embedding, embed_all};
use crate::failure::Failure;
use crate::hold::Hold;
use crate::keep_alive::Stay;

/// Texts that are to become vectors.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::EmbedBody)]
pub(super) struct EmbedBody {
    /// The model's name.
    #[schema(required = true)]
    #[serde(default)]
    model: String,
    /// A text or several.
    input: Option<Value>,
    /// The one text that the older of the two routes takes.
    prompt: Option<String>,
    /// Whether a text that is too long is cut.
    truncate: Option<bool>,
    /// How many of a vector's numbers are wanted.
    dimensions: Option<usize>,
    /// How long the model stays in memory: seconds, or a duration such as `5m`; below zero is for ever.
    keep_alive: Option<Value>,
}

pub(crate) async fn embed(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let start = Instant::now();
    let body: EmbedBody = crate::body::read(&bytes)?;
    app.check_name(&body.model)?;
    let _guard = Hold::new(app, Stay::read(body.keep_alive.as_ref())?);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let inputs = match &body.input {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(text).collect(),
        Some(value) => text(value).map(|text| vec![text]),
    };
    let inputs = inputs.ok_or_else(|| Failure::bad_field("input", "invalid input type"))?;
    let inputs = inputs.iter().map(|text| app.facts.encode(text)).collect();
    let all = embed_all(app, inputs, body.truncate != Some(false), body.dimensions).await?;
    let n_tokens: usize = all.iter().map(|embedding| embedding.n_tokens).sum();
    let total = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let vectors: Vec<_> = all.into_iter().map(|embedding| embedding.vector).collect();
    Ok(reply::object(&json!({
        "model": body.model,
        "embeddings": vectors,
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_count": n_tokens,
    })))
}

pub(crate) async fn embeddings(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let body: EmbedBody = crate::body::read(&bytes)?;
    app.check_name(&body.model)?;
    let _guard = Hold::new(app, Stay::read(body.keep_alive.as_ref())?);
    let prompt = body.prompt.unwrap_or_default();
    if prompt.is_empty() {
        return Ok(reply::object(&json!({ "embedding": [] })));
    }
    let all = embed_all(app, vec![app.facts.encode(&prompt)], true, None).await?;
    let vector = all.into_iter().next().map(|Embedding { vector, .. }| vector);
    Ok(reply::object(&json!({ "embedding": vector })))
}
