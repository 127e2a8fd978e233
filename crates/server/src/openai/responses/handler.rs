//! Handler of `/v1/responses`: reads the request, refuses what needs stored responses, and starts the answer.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::ask::{Ask, Tools};
use super::super::logprobs;
use super::super::reply::{events, model_name, new_id, now, object};
use super::super::sampling::{Sampling, max_tokens};
use super::input::ResponsesInput;
use super::writer::{PartsOptions, ResponseWriter};
use crate::app::App;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::prompt::Conversation;
use crate::stream::body;
use crate::structured::Shape;

/// What `include` says for log-probabilities.
const LOGPROBS: &str = "message.output_text.logprobs";

/// The request, besides [`Sampling`].
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ResponsesBody)]
pub(in crate::openai) struct ResponsesBody {
    model: Option<String>,
    #[schema(required = true)]
    input: Option<ResponsesInput>,
    instructions: Option<String>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    max_output_tokens: Option<i64>,
    stream: Option<bool>,
    include: Option<Vec<String>>,
    top_logprobs: Option<i64>,
    reasoning: Option<Reasoning>,
    text: Option<Text>,
    truncation: Option<String>,
    metadata: Option<Value>,
    background: Option<bool>,
    previous_response_id: Option<String>,
    conversation: Option<Value>,
    prompt: Option<Value>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Reasoning)]
struct Reasoning {
    effort: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Text)]
struct Text {
    format: Option<Value>,
}

pub(crate) async fn responses(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let mut wanted: ResponsesBody = crate::body::read(&bytes)?;
    let sampling: Sampling = crate::body::read(&bytes)?;
    let model = model_name(app, wanted.model.take())?;
    let guard = Hold::new(app, None);
    check(&wanted, &sampling)?;
    let input = wanted.input.take().ok_or_else(|| Failure::bad_field("input", "input is missing"))?;
    let messages = input.messages(wanted.instructions.as_deref())?;
    let effort = wanted.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref());
    let shows_logprobs = wanted.include.iter().flatten().any(|what| what == LOGPROBS);
    let top_logprobs = logprobs::number(wanted.top_logprobs, "top_logprobs")?.unwrap_or(0);
    let tools = wanted.tools.clone();
    let ask = Ask {
        conversation: Conversation { messages, thinking: effort.map(|effort| effort != "none"), ..Default::default() },
        tools: Tools::read(tools, wanted.tool_choice.as_ref(), wanted.parallel_tool_calls)?,
        shape: Shape::of_openai(wanted.text.as_ref().and_then(|text| text.format.as_ref()), "text.format")?,
        max_tokens: max_tokens("max_output_tokens", wanted.max_output_tokens, 1)?,
        logprobs: shows_logprobs.then_some(top_logprobs),
        truncates: wanted.truncation.as_deref() == Some("auto"),
        sampling: sampling.clone(),
    };
    let is_parallel = ask.tools.is_parallel;
    let response = response(model, &wanted, &sampling);
    let (answers, splitter) = ask.begin(app).await?;
    let parts = PartsOptions { splitter, is_parallel, shows_logprobs, tokenizer: Arc::clone(&app.facts.tokenizer) };
    let writer = ResponseWriter::new(response, parts, Some(guard));
    if wanted.stream == Some(true) {
        return Ok(events(body(answers, writer)));
    }
    let answer = answers.into_iter().next().expect("one answer was begun");
    Ok(object(&writer.whole(&answer.whole().await?)))
}

/// What this server does not do.
fn check(wanted: &ResponsesBody, sampling: &Sampling) -> Result<(), Failure> {
    let is_given = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
    let keeps_nothing = "this server keeps no responses: send the whole conversation as input";
    let refused = [
        ("previous_response_id", wanted.previous_response_id.is_some(), keeps_nothing),
        ("conversation", is_given(&wanted.conversation), keeps_nothing),
        ("prompt", is_given(&wanted.prompt), "this server keeps no prompts: send it as instructions and input"),
        (
            "background",
            wanted.background == Some(true),
            "this server answers at once or in a stream, not in the background",
        ),
        ("n", sampling.n()? > 1, "a response is one answer: leave out n"),
    ];
    match refused.into_iter().find(|(_, is_given, _)| *is_given) {
        Some((param, _, why)) => Err(Failure::bad_field(param, format!("{param} is not supported: {why}"))),
        None => Ok(()),
    }
}

/// The response as it is before there is an answer: what was asked for.
fn response(model: String, wanted: &ResponsesBody, sampling: &Sampling) -> Value {
    let format = wanted.text.as_ref().and_then(|text| text.format.clone());
    json!({
        "id": new_id("resp_"),
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": wanted.instructions,
        "max_output_tokens": wanted.max_output_tokens,
        "metadata": wanted.metadata.clone().unwrap_or_else(|| json!({})),
        "model": model,
        "output": [],
        "parallel_tool_calls": wanted.parallel_tool_calls != Some(false),
        "previous_response_id": null,
        "reasoning": { "effort": wanted.reasoning.as_ref().and_then(|r| r.effort.clone()), "summary": null },
        "store": false,
        "temperature": sampling.temperature.unwrap_or(1.0),
        "text": { "format": format.unwrap_or_else(|| json!({ "type": "text" })) },
        "tool_choice": wanted.tool_choice.clone().unwrap_or_else(|| json!("auto")),
        "tools": wanted.tools.clone().unwrap_or_default(),
        "top_logprobs": wanted.top_logprobs.unwrap_or(0),
        "top_p": sampling.top_p.unwrap_or(1.0),
        "truncation": wanted.truncation.as_deref().unwrap_or("disabled"),
        "usage": null,
        "user": null,
    })
}
