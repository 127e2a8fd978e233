//! ssd-llm's own routes: health, metrics, statistics and the tokenizer.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::Snapshot;
use model::{EncodeOptions, SpecialTokens, TokenId};
use prometheus_client::encoding::prometheus_text;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::failure::Failure;
use crate::prompt::{Conversation, message};

/// The state of the engine: loaded, unloaded or failed.
fn state(snapshot: &Snapshot) -> &'static str {
    match snapshot {
        Snapshot { has_failed: true, .. } => "degraded",
        Snapshot { is_loaded: true, .. } => "ready",
        _ => "unloaded",
    }
}

pub(crate) async fn health(State(app): State<Arc<App>>) -> Result<Json<Value>, Failure> {
    let snapshot = app.service.snapshot();
    if snapshot.has_failed {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped: start the server again"));
    }
    Ok(Json(json!({ "status": "ok", "state": state(&snapshot) })))
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown, not counted with")]
pub(crate) async fn stats(State(app): State<Arc<App>>) -> Response {
    let facts = &app.facts;
    let snapshot = app.service.snapshot();
    let (totals, recent) = (snapshot.totals, snapshot.recent);
    let seconds = recent.time.as_secs_f64().max(1e-9);
    let layer = |(pinned, streamed): &(u64, u64)| json!({ "pinned_bytes": pinned, "streamed_bytes": streamed });
    let pass_s = recent.pass_time.as_secs_f64();
    Json(json!({
        "model": {
            "name": facts.name,
            "architecture": facts.spec.architecture,
            "parameters": facts.spec.n_parameters(),
            "quantization": facts.quantization,
            "file_bytes": facts.file_bytes,
            "n_layers": facts.spec.layers.len(),
            "context": facts.ctx,
        },
        "state": state(&snapshot),
        "uptime_s": totals.time.as_secs_f64(),
        "plan": plan_of(&app),
        "layers": facts.layers.iter().map(layer).collect::<Vec<_>>(),
        "now": {
            "tokens_per_second": recent.generated_tokens as f64 / seconds,
            "bytes_per_second": recent.bytes_read as f64 / seconds,
            "stall_share": if pass_s > 0.0 { (recent.stall.as_secs_f64() / pass_s).min(1.0) } else { 0.0 },
            "passes_per_second": recent.passes as f64 / seconds,
            "queued": snapshot.load.queued,
            "prefilling": snapshot.load.prefilling,
            "decoding": snapshot.load.decoding,
            "pinned_bytes": totals.pinned_bytes,
        },
        "totals": {
            "requests": totals.requests,
            "failed": totals.failed,
            "prompt_tokens": totals.prompt_tokens,
            "generated_tokens": totals.generated_tokens,
            "bytes_read": totals.bytes_read,
            "stall_ms": totals.stall.as_secs_f64() * 1e3,
            "compute_ms": totals.pass_time.saturating_sub(totals.stall).as_secs_f64() * 1e3,
        },
        "kv": {
            "n_pages": snapshot.n_pages,
            "n_free_pages": snapshot.n_free_pages,
            "n_cached_pages": snapshot.cache.pages.min(snapshot.n_pages - snapshot.n_free_pages),
            "page_bytes": snapshot.page_bytes,
        },
        "prompt_cache": {
            "hits": snapshot.cache.hits,
            "misses": totals.requests.saturating_sub(snapshot.cache.hits),
            "saved_tokens": snapshot.cache.saved_tokens,
        },
    }))
    .into_response()
}

fn plan_of(app: &App) -> Value {
    let plan = &app.facts.plan;
    json!({
        "budget_bytes": plan.budget.limit_bytes,
        "weights_bytes": plan.weights_bytes,
        "pinned_bytes": plan.pinned_bytes,
        "streamed_bytes_per_pass": plan.streamed_bytes_per_pass,
        "kv_bytes": plan.budget.kv_bytes,
        "fixed_bytes": plan.budget.fixed_bytes,
        "minimum_budget_bytes": plan.minimum_budget_bytes,
        "predicted_tokens_per_second": app.facts.predicted,
    })
}

pub(crate) async fn plan(State(app): State<Arc<App>>) -> Response {
    Json(plan_of(&app)).into_response()
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.text(&app.service.snapshot());
    ([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response()
}

/// A text to tokenize.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TokenizeBody {
    #[serde(default)]
    content: String,
    /// Whether to add the special tokens at the beginning and end.
    #[serde(default)]
    add_special: bool,
    /// Whether names of special tokens stand for the tokens.
    #[serde(default = "yes")]
    parse_special: bool,
    /// Whether to return the text of each token, or its bytes if they are not valid UTF-8.
    #[serde(default)]
    with_pieces: bool,
}

/// Tokens to convert to text.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct DetokenizeBody {
    #[schema(value_type = Vec<u32>)]
    #[serde(default)]
    tokens: Vec<TokenId>,
}

/// A conversation to render.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct ApplyBody {
    /// Each with `role` and `content`.
    #[serde(default)]
    messages: Vec<Value>,
    /// Functions, in OpenAI's format.
    tools: Option<Vec<Value>>,
}

fn yes() -> bool {
    true
}

pub(crate) async fn tokenize(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Json<Value>, Failure> {
    let wanted: TokenizeBody = crate::body::read(&bytes)?;
    let options = EncodeOptions { add_special: wanted.add_special, parse_special: wanted.parse_special };
    let tokenizer = &app.facts.tokenizer;
    let tokens = tokenizer.encode(&wanted.content, options);
    if !wanted.with_pieces {
        return Ok(Json(json!({ "tokens": tokens })));
    }
    let piece = |id: &TokenId| {
        let bytes = tokenizer.piece(*id, SpecialTokens::Show);
        let piece = std::str::from_utf8(&bytes).map_or_else(|_| json!(bytes), |text| json!(text));
        json!({ "id": id, "piece": piece })
    };
    Ok(Json(json!({ "tokens": tokens.iter().map(piece).collect::<Vec<_>>() })))
}

pub(crate) async fn detokenize(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Json<Value>, Failure> {
    let DetokenizeBody { tokens } = crate::body::read(&bytes)?;
    let tokenizer = &app.facts.tokenizer;
    let n = tokenizer.vocab_len();
    if let Some(token) = tokens.iter().find(|token| **token as usize >= n) {
        return Err(Failure::bad_field("tokens", format!("token {token} is out of range (vocabulary size {n})")));
    }
    let pieces = tokens.iter().flat_map(|id| tokenizer.piece(*id, SpecialTokens::Show).into_owned());
    Ok(Json(json!({ "content": String::from_utf8_lossy(&pieces.collect::<Vec<u8>>()) })))
}

pub(crate) async fn apply_template(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Json<Value>, Failure> {
    let wanted: ApplyBody = crate::body::read(&bytes)?;
    let one = |given: &Value| {
        let role = given["role"].as_str().ok_or_else(|| Failure::bad_field("messages", "a message has no role"))?;
        message(role, &given["content"]).map(Value::Object)
    };
    if wanted.messages.is_empty() {
        return Err(Failure::bad_field("messages", "messages is required"));
    }
    let messages = wanted.messages.iter().map(one).collect::<Result<_, _>>()?;
    let conversation = Conversation { messages, tools: wanted.tools.unwrap_or_default(), thinking: None };
    let prompt = app.aside(move |app| app.facts.render(&conversation)).await?;
    Ok(Json(json!({ "prompt": prompt.text })))
}
