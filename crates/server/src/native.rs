//! This program's own routes: health, what goes on, and the tokenizer.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::Snapshot;
use model::{EncodeOptions, SpecialTokens, TokenId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::failure::Failure;
use crate::metrics::{BOUNDS, Histogram};
use crate::openai::reply as openai;
use crate::prompt::{Conversation, message};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/stats", get(stats))
        .route("/plan", get(plan))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/apply-template", post(apply_template))
}

/// The engine works, has still to read weights, or is gone.
fn state(snapshot: &Snapshot) -> &'static str {
    match snapshot {
        Snapshot { has_failed: true, .. } => "degraded",
        Snapshot { is_loaded: true, .. } => "ready",
        _ => "unloaded",
    }
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.service.snapshot();
    if snapshot.has_failed {
        let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped: start the server again");
        return openai::error(&failure);
    }
    Json(json!({ "status": "ok", "state": state(&snapshot) })).into_response()
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown, not counted with")]
async fn stats(State(app): State<Arc<App>>) -> Response {
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

async fn plan(State(app): State<Arc<App>>) -> Response {
    Json(plan_of(&app)).into_response()
}

/// One metric without labels.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: f64,
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floating-point numbers")]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let Snapshot { totals, load, cache, n_pages, n_free_pages, recent, .. } = app.service.snapshot();
    let cancelled = app.metrics.cancelled.load(Ordering::Relaxed) as f64;
    let seconds = recent.time.as_secs_f64().max(1e-9);
    let metric = |name, kind, help, value| Metric { name, kind, help, value };
    let all = [
        metric("requests_total", "counter", "Requests to the engine that have ended.", totals.requests as f64),
        metric("requests_failed_total", "counter", "Of them, those that failed.", totals.failed as f64),
        metric("requests_cancelled_total", "counter", "Requests that their clients gave up.", cancelled),
        metric("requests_queued", "gauge", "Requests that wait.", load.queued as f64),
        metric("requests_prefilling", "gauge", "Requests whose prompts are being taken in.", load.prefilling as f64),
        metric("requests_decoding", "gauge", "Requests that decode.", load.decoding as f64),
        metric(
            "prompt_tokens_total",
            "counter",
            "Tokens of prompts, those that were known included.",
            totals.prompt_tokens as f64,
        ),
        metric("generated_tokens_total", "counter", "Tokens generated.", totals.generated_tokens as f64),
        metric(
            "tokens_per_second",
            "gauge",
            "Tokens generated a second, lately.",
            recent.generated_tokens as f64 / seconds,
        ),
        metric("passes_total", "counter", "Passes over the weights.", totals.passes as f64),
        metric("pass_seconds_total", "counter", "Time in passes.", totals.pass_time.as_secs_f64()),
        metric("bytes_read_total", "counter", "Bytes of weights read from the disk.", totals.bytes_read as f64),
        metric(
            "stall_seconds_total",
            "counter",
            "Time in which passes waited for the disk.",
            totals.stall.as_secs_f64(),
        ),
        metric(
            "slab_hits_total",
            "counter",
            "Slabs of weights that were in memory when they were needed.",
            totals.hits as f64,
        ),
        metric("slabs_total", "counter", "Slabs of weights that were needed.", totals.slabs as f64),
        metric("pinned_bytes", "gauge", "Bytes of weights that are kept in memory.", totals.pinned_bytes as f64),
        metric("kv_pages", "gauge", "Pages of the KV cache.", n_pages as f64),
        metric("kv_pages_free", "gauge", "Of them, those that are free.", n_free_pages as f64),
        metric("prompt_cache_hits_total", "counter", "Prompts whose beginning was known.", cache.hits as f64),
        metric(
            "prompt_cache_saved_tokens_total",
            "counter",
            "Tokens of prompts that were not computed again.",
            cache.saved_tokens as f64,
        ),
        metric("prompt_cache_pages", "gauge", "Pages that hold what finished requests computed.", cache.pages as f64),
    ];
    let mut text = String::new();
    for Metric { name, kind, help, value } in all {
        write!(text, "# HELP ssd_llm_{name} {help}\n# TYPE ssd_llm_{name} {kind}\nssd_llm_{name} {value}\n")
            .expect("a string takes any text");
    }
    text += "# HELP ssd_llm_responses_total HTTP responses by the hundreds of their status.\n# TYPE ssd_llm_responses_total counter\n";
    for (class, count) in (1..).zip(&app.metrics.responses) {
        writeln!(text, "ssd_llm_responses_total{{status=\"{class}xx\"}} {}", count.load(Ordering::Relaxed))
            .expect("a string takes any text");
    }
    histogram(&mut text, "first_token_seconds", "From a request to its first token.", &app.metrics.first_token);
    histogram(&mut text, "between_tokens_seconds", "From a token to the next.", &app.metrics.between_tokens);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn histogram(text: &mut String, name: &str, help: &str, histogram: &Histogram) {
    write!(text, "# HELP ssd_llm_{name} {help}\n# TYPE ssd_llm_{name} histogram\n").expect("a string takes any text");
    let mut total = 0;
    let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
    for (bound, bucket) in bounds.zip(&histogram.buckets) {
        total += bucket.load(Ordering::Relaxed);
        writeln!(text, "ssd_llm_{name}_bucket{{le=\"{bound}\"}} {total}").expect("a string takes any text");
    }
    write!(text, "ssd_llm_{name}_sum {}\nssd_llm_{name}_count {total}\n", histogram.sum())
        .expect("a string takes any text");
}

/// A text.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TokenizeBody {
    #[serde(default)]
    content: String,
    /// Whether the tokens that texts begin and end with are put there.
    #[serde(default)]
    add_special: bool,
    /// Whether the names of special tokens stand for them.
    #[serde(default = "yes")]
    parse_special: bool,
    /// Whether tokens come with their texts, or bytes where those are no text.
    #[serde(default)]
    with_pieces: bool,
}

/// Tokens.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct DetokenizeBody {
    #[schema(value_type = Vec<u32>)]
    #[serde(default)]
    tokens: Vec<TokenId>,
}

/// A conversation.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct ApplyBody {
    /// Each with `role` and `content`.
    #[serde(default)]
    messages: Vec<Value>,
    /// Functions, as OpenAI writes them.
    tools: Option<Vec<Value>>,
}

fn yes() -> bool {
    true
}

/// A handler's result as a response; these routes are llama.cpp's, which has OpenAI's errors.
fn respond(result: Result<Value, Failure>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(failure) => openai::error(&failure),
    }
}

async fn tokenize(State(app): State<Arc<App>>, bytes: Bytes) -> Response {
    respond(crate::body::read(&bytes).map(|wanted: TokenizeBody| {
        let options = EncodeOptions { add_special: wanted.add_special, parse_special: wanted.parse_special };
        let tokenizer = &app.facts.tokenizer;
        let tokens = tokenizer.encode(&wanted.content, options);
        if !wanted.with_pieces {
            return json!({ "tokens": tokens });
        }
        let piece = |id: &TokenId| {
            let bytes = tokenizer.piece(*id, SpecialTokens::Show);
            let piece = std::str::from_utf8(&bytes).map_or_else(|_| json!(bytes), |text| json!(text));
            json!({ "id": id, "piece": piece })
        };
        json!({ "tokens": tokens.iter().map(piece).collect::<Vec<_>>() })
    }))
}

async fn detokenize(State(app): State<Arc<App>>, bytes: Bytes) -> Response {
    let text = |wanted: DetokenizeBody| {
        let tokenizer = &app.facts.tokenizer;
        let n = tokenizer.vocab_len();
        if let Some(token) = wanted.tokens.iter().find(|token| **token as usize >= n) {
            return Err(Failure::bad_field("tokens", format!("there is no token {token}: there are {n}")));
        }
        let bytes: Vec<u8> =
            wanted.tokens.iter().flat_map(|id| tokenizer.piece(*id, SpecialTokens::Show).into_owned()).collect();
        Ok(json!({ "content": String::from_utf8_lossy(&bytes) }))
    };
    respond(crate::body::read(&bytes).and_then(text))
}

async fn apply_template(State(app): State<Arc<App>>, bytes: Bytes) -> Response {
    let conversation = |wanted: ApplyBody| {
        let one = |given: &Value| {
            let role = given["role"].as_str().ok_or_else(|| Failure::bad_field("messages", "a message has no role"))?;
            message(role, &given["content"]).map(Value::Object)
        };
        if wanted.messages.is_empty() {
            return Err(Failure::bad_field("messages", "messages is required"));
        }
        let messages = wanted.messages.iter().map(one).collect::<Result<_, _>>()?;
        Ok(Conversation { messages, tools: wanted.tools.unwrap_or_default(), thinking: None })
    };
    let conversation = match crate::body::read(&bytes).and_then(conversation) {
        Ok(conversation) => conversation,
        Err(failure) => return openai::error(&failure),
    };
    respond(app.aside(move |app| app.facts.render(&conversation)).await.map(|prompt| json!({ "prompt": prompt.text })))
}
