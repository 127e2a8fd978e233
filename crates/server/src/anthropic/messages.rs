//! `/v1/messages`, whole or as events, and `/v1/messages/count_tokens`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::{FinishReason, GenerateRequest, Generation, SamplingOptions};
use serde_json::{Value, json};

use super::conversation::conversation;
use super::request::{MessagesBody, Thinking};
use super::{error, error_object, id};
use crate::answer::{Answer, Piece};
use crate::app::App;
use crate::failure::Failure;
use crate::keep_alive::Guard;
use crate::parts::{Part, Splitter};
use crate::prompt::{Conversation, Prompt};
use crate::stream::{Format, body};

const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

pub(super) async fn messages(State(app): State<Arc<App>>, bytes: Bytes) -> Response {
    respond(answer(&app, &bytes).await)
}

pub(super) async fn count_tokens(State(app): State<Arc<App>>, bytes: Bytes) -> Response {
    respond(count(&app, &bytes).await)
}

fn respond(result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(|failure| error(&failure))
}

/// A response whose name clients show when they report a problem.
fn named(response: impl IntoResponse) -> Response {
    ([("request-id", id("req"))], response).into_response()
}

async fn count(app: &Arc<App>, bytes: &Bytes) -> Result<Response, Failure> {
    let wanted = read(app, bytes)?;
    let prompt = render(app, conversation(app, &wanted)?).await?;
    Ok(named(axum::Json(json!({ "input_tokens": prompt.tokens.len() }))))
}

async fn answer(app: &Arc<App>, bytes: &Bytes) -> Result<Response, Failure> {
    let wanted = read(app, bytes)?;
    let guard = Guard::new(app, None);
    let max_tokens = match wanted.max_tokens {
        None => return Err(Failure::bad_field("max_tokens", "max_tokens: Field required")),
        Some(n) => usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| {
            Failure::bad_field("max_tokens", format!("max_tokens: {n} given, and it must be at least 1"))
        })?,
    };
    let sampling = sampling(&wanted)?;
    let conversation = conversation(app, &wanted)?;
    let has_tools = !conversation.tools.is_empty();
    let prompt = render(app, conversation).await?;
    let lines = Lines {
        id: id("msg"),
        model: wanted.model,
        n_prompt: prompt.tokens.len(),
        splitter: Splitter::new(app.facts.has_thinking(), prompt.opens_thinking, has_tools),
        shows_thinking: wanted.thinking.as_ref().is_some_and(Thinking::is_shown),
        open: None,
        n_blocks: 0,
        has_called: false,
        _guard: guard,
    };
    let request = GenerateRequest {
        prompt: prompt.tokens,
        max_tokens: Some(max_tokens),
        sampling,
        stop: wanted.stop_sequences.unwrap_or_default(),
        ..GenerateRequest::default()
    };
    let answer = Answer::begin(app, request).await?;
    if wanted.stream == Some(true) {
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        return Ok(named((headers, body(vec![answer], lines))));
    }
    let generation = answer.whole().await?;
    Ok(named(axum::Json(lines.whole(&generation))))
}

/// Reads a request for this model.
fn read(app: &App, bytes: &Bytes) -> Result<MessagesBody, Failure> {
    let wanted: MessagesBody = crate::body::read(bytes)?;
    if wanted.model.is_empty() {
        return Err(Failure::bad_field("model", "model: Field required"));
    }
    app.check_name(&wanted.model)?;
    Ok(wanted)
}

async fn render(app: &Arc<App>, conversation: Conversation) -> Result<Prompt, Failure> {
    app.aside(move |app| app.facts.render(&conversation)).await
}

/// How tokens are chosen; what the request does not say is as for everybody.
///
/// Errors: a number is out of its range.
fn sampling(wanted: &MessagesBody) -> Result<SamplingOptions, Failure> {
    let mut sampling = SamplingOptions::default();
    if let Some(temperature) = wanted.temperature {
        if !(0.0..=2.0).contains(&temperature) {
            return Err(Failure::bad_field("temperature", "temperature: it must be between 0 and 2"));
        }
        sampling.temperature = temperature;
    }
    if let Some(top_p) = wanted.top_p {
        if !(0.0..=1.0).contains(&top_p) {
            return Err(Failure::bad_field("top_p", "top_p: it must be between 0 and 1"));
        }
        sampling.top_p = top_p;
    }
    if let Some(top_k) = wanted.top_k {
        sampling.top_k =
            usize::try_from(top_k).map_err(|_| Failure::bad_field("top_k", "top_k: it must not be negative"))?;
    }
    Ok(sampling)
}

/// Writes an answer.
struct Lines {
    id: String,
    model: String,
    n_prompt: usize,
    splitter: Splitter,
    shows_thinking: bool,
    /// The block that deltas go to.
    open: Option<Kind>,
    /// Blocks that have been closed.
    n_blocks: usize,
    has_called: bool,
    _guard: Guard,
}

/// What a block that grows holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

impl Lines {
    /// Events for some parts.
    fn shown(&mut self, parts: Vec<Part>) -> String {
        let mut all = String::new();
        for part in parts {
            match part {
                Part::Text(text) => {
                    self.open(&mut all, Kind::Text);
                    all += &self.delta(json!({ "type": "text_delta", "text": text }));
                }
                Part::Thinking(thinking) if self.shows_thinking => {
                    self.open(&mut all, Kind::Thinking);
                    all += &self.delta(json!({ "type": "thinking_delta", "thinking": thinking }));
                }
                // It may take long, and something has to be heard.
                Part::Thinking(_) => all += PING,
                Part::Call { name, arguments } => {
                    self.close(&mut all);
                    all += &self.start(json!({ "type": "tool_use", "id": id("toolu"), "name": name, "input": {} }));
                    all += &self.delta(json!({ "type": "input_json_delta", "partial_json": arguments.to_string() }));
                    all += &self.stop();
                    self.has_called = true;
                }
            }
        }
        all
    }

    /// Makes sure that a block of a kind is open.
    fn open(&mut self, all: &mut String, kind: Kind) {
        if self.open == Some(kind) {
            return;
        }
        self.close(all);
        self.open = Some(kind);
        *all += &self.start(match kind {
            Kind::Text => json!({ "type": "text", "text": "" }),
            Kind::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
        });
    }

    fn close(&mut self, all: &mut String) {
        let Some(kind) = self.open.take() else { return };
        if kind == Kind::Thinking {
            *all += &self.delta(json!({ "type": "signature_delta", "signature": id("sig") }));
        }
        *all += &self.stop();
    }

    fn start(&self, block: Value) -> String {
        let start = event(json!({ "type": "content_block_start", "index": self.n_blocks, "content_block": block }));
        // Anthropic's server says something of the kind after the first start, and there are clients that wait for it.
        if self.n_blocks == 0 { start + PING } else { start }
    }

    fn delta(&self, delta: Value) -> String {
        event(json!({ "type": "content_block_delta", "index": self.n_blocks, "delta": delta }))
    }

    fn stop(&mut self) -> String {
        let stop = event(json!({ "type": "content_block_stop", "index": self.n_blocks }));
        self.n_blocks += 1;
        stop
    }

    /// Why an answer has ended, and the stop sequence that ended it.
    fn ended<'a>(&self, generation: &'a Generation) -> (&'static str, Option<&'a str>) {
        match (generation.finish_reason, &generation.stop_text) {
            (FinishReason::Length, _) => ("max_tokens", None),
            _ if self.has_called => ("tool_use", None),
            (_, Some(stop)) => ("stop_sequence", Some(stop)),
            (FinishReason::Stop | FinishReason::Cancelled, None) => ("end_turn", None),
        }
    }

    fn message(&self, content: Vec<Value>, usage: Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        })
    }

    /// The message as one object.
    fn whole(mut self, generation: &Generation) -> Value {
        let mut parts = self.splitter.push(&generation.text);
        parts.extend(self.splitter.finish());
        let mut content: Vec<Value> = Vec::new();
        for part in parts {
            let (kind, text) = match part {
                Part::Text(text) => ("text", text),
                Part::Thinking(text) => ("thinking", text),
                Part::Call { name, arguments } => {
                    content.push(json!({ "type": "tool_use", "id": id("toolu"), "name": name, "input": arguments }));
                    self.has_called = true;
                    continue;
                }
            };
            if kind == "thinking" && !self.shows_thinking {
                continue;
            }
            match content.last_mut().filter(|last| last["type"] == kind) {
                Some(last) => last[kind] = json!(last[kind].as_str().unwrap_or("").to_owned() + &text),
                None if kind == "text" => content.push(json!({ "type": kind, "text": text })),
                None => content.push(json!({ "type": kind, "thinking": text, "signature": id("sig") })),
            }
        }
        let mut message = self.message(content, usage(generation));
        let (reason, sequence) = self.ended(generation);
        message["stop_reason"] = json!(reason);
        message["stop_sequence"] = json!(sequence);
        message
    }
}

impl Format for Lines {
    fn begin(&mut self) -> String {
        // How much of the prompt was known is told at the end.
        let usage = json!({
            "input_tokens": self.n_prompt,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        });
        event(json!({ "type": "message_start", "message": self.message(Vec::new(), usage) }))
    }

    fn piece(&mut self, _: usize, piece: Piece) -> String {
        match piece {
            Piece::Token { text, .. } | Piece::Rest(text) => {
                let parts = self.splitter.push(&text);
                self.shown(parts)
            }
            Piece::Done(generation) => {
                let parts = self.splitter.finish();
                let mut all = self.shown(parts);
                self.close(&mut all);
                let (reason, sequence) = self.ended(&generation);
                let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
                all += &event(json!({ "type": "message_delta", "delta": delta, "usage": usage(&generation) }));
                all + &event(json!({ "type": "message_stop" }))
            }
            Piece::Failed(failure) => event(error_object(&failure, &id("req"))),
        }
    }

    fn idle(&self) -> &'static str {
        PING
    }
}

/// Tokens of the prompt that were computed, those that were known, and those of the answer.
fn usage(generation: &Generation) -> Value {
    json!({
        "input_tokens": generation.prompt_tokens - generation.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": generation.cached_tokens,
        "output_tokens": generation.tokens.len(),
    })
}

/// An event, named by its type.
#[expect(clippy::needless_pass_by_value, reason = "callers have no use for it")]
fn event(value: Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or("error"))
}
