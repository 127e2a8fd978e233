//! Handler of `/api/chat`: a conversation, with tools if the model supports them.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use engine::{GenerateRequest, ToolChoice};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::generate::thinking;
use super::lines::{self, Form, Head, Lines};
use super::options::Options;
use super::reply;
use crate::answer::Answer;
use crate::app::App;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::keep_alive::Stay;
use crate::parts::Splitter;
use crate::prompt::{Call, Conversation, add_fields, message};
use crate::structured::Shape;
use crate::tools::left_out;

/// A conversation that is to go on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::ChatBody)]
pub(super) struct ChatBody {
    /// The model's name.
    #[schema(required = true)]
    #[serde(default)]
    model: String,
    /// The conversation; if there is none, the model is loaded, or let go of.
    messages: Option<Vec<Message>>,
    /// Functions that the model may call, as OpenAI writes them.
    tools: Option<Vec<Value>>,
    /// `"json"`, or a JSON schema that the answer follows.
    format: Option<Value>,
    /// How tokens are chosen: `temperature`, `top_k`, `top_p`, `min_p`, `seed`, `num_predict`, `stop` and others.
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// Whether the answer comes in lines; it does unless this says no.
    stream: Option<bool>,
    /// How long the model stays in memory: seconds, or a duration such as `5m`; below zero is for ever.
    keep_alive: Option<Value>,
    /// Whether the model thinks aloud first: a boolean, or `low`, `medium`, `high`, `max`.
    think: Option<Value>,
    /// Whether tokens come with their log-probabilities.
    logprobs: Option<bool>,
    /// With how many alternatives, up to 20.
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<i64>,
    /// Whether the oldest messages may be left out of a conversation that is too long.
    truncate: Option<bool>,
    /// Whether the oldest tokens go when the context is full, or the answer ends.
    shift: Option<bool>,
}

/// What somebody says.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::Message)]
struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    #[serde(default)]
    role: String,
    content: Option<String>,
    /// Models here see none.
    images: Option<Vec<Value>>,
    tool_calls: Option<Vec<Call>>,
    tool_name: Option<String>,
    tool_call_id: Option<String>,
    thinking: Option<String>,
}

pub(crate) async fn chat(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let start = Instant::now();
    let wanted: ChatBody = crate::body::read(&bytes)?;
    if wanted.model.is_empty() {
        return Err(Failure::bad_field("model", "model is required"));
    }
    app.check_name(&wanted.model)?;
    let stay = Stay::read(wanted.keep_alive.as_ref())?;
    let guard = Hold::new(app, stay);
    let is_streamed = wanted.stream != Some(false);
    let messages = wanted.messages.unwrap_or_default();
    if messages.is_empty() {
        return Ok(lines::loaded(app, &wanted.model, stay, Form::Message, is_streamed));
    }
    let mut tools = wanted.tools.unwrap_or_default();
    tools.retain(|tool| {
        let kind = tool["type"].as_str().filter(|kind| *kind != "function");
        kind.inspect(|kind| left_out(kind)).is_none()
    });
    if !tools.is_empty() && !app.facts.has_tools() {
        return Err(Failure::bad_field("tools", format!("{} does not support tools", app.facts.name)));
    }
    let options = Options::read(wanted.options.as_ref())?;
    let thinking = thinking(app, wanted.think.as_ref())?;
    let calls = || Shape::Calls { tools: tools.clone(), choice: ToolChoice::Auto, is_parallel: true };
    let shape = Shape::of_ollama(wanted.format.as_ref())?.or_else(|| (!tools.is_empty()).then(calls));
    // An answer that has to be JSON is no call of a tool, whatever it looks like.
    let has_tools = shape.as_ref().is_some_and(|shape| !shape.is_json());
    // JSON from the first token on leaves no room for thoughts.
    let is_forced = shape.as_ref().is_some_and(Shape::is_forced) && app.facts.has_thinking();
    let thinking = if is_forced { Some(false) } else { thinking };
    let messages = messages.into_iter().map(Message::for_template).collect::<Result<_, _>>()?;
    let conversation = Conversation { messages, tools, thinking };
    let is_cut = wanted.truncate != Some(false);
    let render = move |app: &App| match is_cut {
        true => app.facts.render_truncated(&conversation),
        false => app.facts.render(&conversation),
    };
    let prompt = app.aside(render).await?;
    let overflow = if is_cut { options.overflow(wanted.shift) } else { engine::Overflow::Stop };
    let request = GenerateRequest {
        prompt: prompt.tokens,
        max_tokens: options.max_tokens,
        overflow,
        logprobs: reply::n_logprobs(wanted.logprobs, wanted.top_logprobs)?,
        sampling: options.sampling,
        stop: options.stop,
        constraint: app.constrain(shape).await?,
        ..GenerateRequest::default()
    };
    let splits = app.facts.has_thinking() && thinking != Some(false);
    let splitter = Splitter::new(splits, prompt.opens_thinking, has_tools);
    let head = Head { model: wanted.model, start, form: Form::Message };
    let lines = Lines::new(head, splitter, Arc::clone(&app.facts.tokenizer), guard);
    lines.answer(Answer::begin(app, request).await?, is_streamed).await
}

impl Message {
    /// As a chat template sees it.
    fn for_template(self) -> Result<Value, Failure> {
        if self.images.is_some_and(|images| !images.is_empty()) {
            return Err(Failure::bad_field("messages", "this model does not support images: it takes text only"));
        }
        let mut message = message(&self.role, &json!(self.content.unwrap_or_default()))?;
        let more =
            [("name", self.tool_name), ("tool_call_id", self.tool_call_id), ("reasoning_content", self.thinking)];
        add_fields(&mut message, self.tool_calls, more);
        Ok(Value::Object(message))
    }
}
