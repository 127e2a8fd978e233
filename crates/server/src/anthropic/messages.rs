//! Handlers of `/v1/messages`, streamed or not, and `/v1/messages/count_tokens`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::{GenerateRequest, SamplingOptions};
use serde_json::json;

use super::conversation::{choice, conversation, shape};
use super::errors::id;
use super::reply::Reply;
use super::request::{MessagesBody, Thinking, ToolChoice};
use crate::answer::Answer;
use crate::app::App;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::parts::Splitter;
use crate::prompt::{Conversation, Prompt};
use crate::stream::body;
use crate::structured::Shape;

/// A response whose name clients show when they report a problem.
fn named(response: impl IntoResponse) -> Response {
    ([("request-id", id("req"))], response).into_response()
}

pub(crate) async fn count_tokens(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let wanted = read(app, &bytes)?;
    Limits::read(&wanted)?;
    let prompt = render(app, conversation(app, &wanted)?, choice(wanted.tool_choice.as_ref())).await?;
    Ok(named(axum::Json(json!({ "input_tokens": prompt.tokens.len() }))))
}

pub(crate) async fn messages(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let wanted = read(app, &bytes)?;
    let guard = Hold::new(app, None);
    if wanted.max_tokens.is_none() {
        return Err(Failure::bad_field("max_tokens", "max_tokens: Field required"));
    }
    let limits = Limits::read(&wanted)?;
    let conversation = conversation(app, &wanted)?;
    let has_tools = !conversation.tools.is_empty();
    let choice = choice(wanted.tool_choice.as_ref());
    let is_parallel = wanted.tool_choice.as_ref().is_none_or(ToolChoice::is_parallel);
    let calls = || Shape::Calls { tools: conversation.tools.clone(), choice: choice.clone(), is_parallel };
    let shape = shape(&wanted)?.or_else(|| has_tools.then(calls));
    let prompt = render(app, conversation, choice).await?;
    let splitter = Splitter::new(app.facts.has_thinking(), prompt.opens_thinking, has_tools);
    let mut reply = Reply::new(splitter, Some(guard));
    reply.n_prompt = prompt.tokens.len();
    reply.shows_thinking = wanted.thinking.as_ref().is_some_and(Thinking::is_shown);
    reply.is_parallel = is_parallel;
    reply.model = wanted.model;
    let request = GenerateRequest {
        prompt: prompt.tokens,
        max_tokens: limits.max_tokens,
        sampling: limits.sampling,
        stop: wanted.stop_sequences.unwrap_or_default(),
        constraint: app.constrain(shape).await?,
        ..GenerateRequest::default()
    };
    let answer = Answer::begin(app, request).await?;
    if wanted.stream == Some(true) {
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        return Ok(named((headers, body(vec![answer], reply))));
    }
    let generation = answer.whole().await?;
    Ok(named(axum::Json(reply.whole(&generation))))
}

/// Reads a request for this model.
fn read(app: &App, bytes: &Bytes) -> Result<MessagesBody, Failure> {
    let wanted: MessagesBody = crate::body::read(bytes)?;
    if wanted.model.is_empty() {
        return Err(Failure::bad_field("model", "model: Field required"));
    }
    app.check_name(&wanted.model).map_err(|failure| with_names(app, &wanted.model, failure))?;
    Ok(wanted)
}

/// Names the model that there is, and where coding agents take names from: they ask for several of Anthropic's.
fn with_names(app: &App, wanted: &str, failure: Failure) -> Failure {
    let mut message = format!("{}: this server has {} alone", failure.message, app.facts.name);
    if wanted.starts_with("claude") {
        message += "; for Claude Code, set ANTHROPIC_MODEL to that, and ANTHROPIC_DEFAULT_HAIKU_MODEL, \
                    ANTHROPIC_DEFAULT_SONNET_MODEL and ANTHROPIC_DEFAULT_OPUS_MODEL, and with its older versions \
                    ANTHROPIC_SMALL_FAST_MODEL too";
    }
    Failure { message, ..failure }
}

async fn render(app: &Arc<App>, conversation: Conversation, choice: engine::ToolChoice) -> Result<Prompt, Failure> {
    app.aside(move |app| app.facts.render(&app.facts.with_tools_told(conversation, &choice))).await
}

/// How tokens are chosen, and how many.
struct Limits {
    max_tokens: Option<usize>,
    sampling: SamplingOptions,
}

impl Limits {
    /// What the request does not say is as for everybody.
    ///
    /// Errors: a number is out of its range.
    fn read(wanted: &MessagesBody) -> Result<Limits, Failure> {
        let wrong = |param, range: &str| Failure::bad_field(param, format!("{param}: it must be {range}"));
        let mut sampling = SamplingOptions::default();
        if let Some(temperature) = wanted.temperature {
            sampling.temperature = temperature;
        }
        if let Some(top_p) = wanted.top_p {
            sampling.top_p = top_p;
        }
        if !(0.0..=2.0).contains(&sampling.temperature) {
            return Err(wrong("temperature", "between 0 and 2"));
        }
        if !(0.0..=1.0).contains(&sampling.top_p) {
            return Err(wrong("top_p", "between 0 and 1"));
        }
        if let Some(top_k) = wanted.top_k {
            sampling.top_k = usize::try_from(top_k).map_err(|_| wrong("top_k", "0 or more"))?;
        }
        let max_tokens = wanted.max_tokens.map(|n| usize::try_from(n).unwrap_or(0));
        if max_tokens == Some(0) {
            return Err(wrong("max_tokens", "1 or more"));
        }
        Ok(Limits { max_tokens, sampling })
    }
}
