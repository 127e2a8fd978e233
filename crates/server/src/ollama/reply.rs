//! What all of Ollama's answers share: errors, times, counts, log-probabilities, lines.

use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::{FinishReason, Generation, StepLogprobs, TokenLogprob};
use model::{SpecialTokens, TokenId, Tokenizer};
use serde_json::{Value, json};

use crate::failure::Failure;

/// `{"error": "..."}`, with the status.
pub(crate) fn error(failure: &Failure) -> Response {
    (failure.status, axum::Json(json!({ "error": failure.message }))).into_response()
}

/// The current time in RFC 3339 format.
pub(super) fn now() -> String {
    time(SystemTime::now())
}

/// A time in RFC 3339 format.
pub(super) fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| at.to_string()).unwrap_or_default()
}

/// A response of lines.
pub(super) fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// A response of one object.
pub(super) fn object(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], value.to_string()).into_response()
}

/// The line that ends a failed stream.
pub(super) fn error_line(failure: &Failure) -> String {
    line(&json!({ "error": failure.message }))
}

pub(super) fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// Adds the statistics of an answer to its last object.
pub(super) fn add_totals(object: &mut Value, generation: &Generation, start: Instant) {
    object["done"] = json!(true);
    object["done_reason"] = json!(match generation.finish_reason {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Cancelled => "stop",
    });
    let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let timings = &generation.timings;
    let total = start.elapsed();
    let counts = [
        ("total_duration", ns(total)),
        ("load_duration", ns(total.saturating_sub(timings.prefill + timings.decode))),
        ("prompt_eval_count", generation.prompt_tokens as u64),
        ("prompt_eval_duration", ns(timings.prefill)),
        ("eval_count", generation.tokens.len() as u64),
        ("eval_duration", ns(timings.decode)),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        object[name] = json!(count);
    }
}

/// `logprobs` of a token.
pub(super) fn logprobs(tokenizer: &Tokenizer, step: &StepLogprobs) -> Value {
    let mut object = one(tokenizer, step.chosen);
    if !step.top.is_empty() {
        object["top_logprobs"] = step.top.iter().map(|top| one(tokenizer, *top)).collect();
    }
    object
}

fn one(tokenizer: &Tokenizer, token: TokenLogprob) -> Value {
    let bytes = piece(tokenizer, token.id);
    json!({ "token": String::from_utf8_lossy(&bytes), "logprob": token.logprob, "bytes": bytes })
}

/// The bytes of a token.
fn piece(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    tokenizer.piece(id, SpecialTokens::Show).into_owned()
}

/// The number of alternatives to report, if log-probabilities are requested.
///
/// Errors: more than 20.
pub(super) fn n_logprobs(wanted: Option<bool>, top: Option<i64>) -> Result<Option<usize>, Failure> {
    match top.unwrap_or(0) {
        top @ 0..=20 => Ok((wanted == Some(true)).then_some(usize::try_from(top).unwrap_or(0))),
        _ => Err(Failure::bad_field("top_logprobs", "top_logprobs must be between 0 and 20")),
    }
}
