//! Handler of `/api/generate`: one prompt, in the model's template or raw.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use engine::{GenerateRequest, Overflow};
use model::TokenId;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::go_template::{self, Variables};
use super::lines::{self, Form, Head, Lines};
use super::options::Options;
use super::reply;
use crate::answer::Answer;
use crate::app::App;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::keep_alive::Stay;
use crate::parts::Splitter;
use crate::prompt::{Conversation, Prompt, message};
use crate::structured::Shape;

/// A prompt that is to be answered.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::GenerateBody)]
pub(super) struct GenerateBody {
    /// The model's name.
    #[schema(required = true)]
    #[serde(default)]
    model: String,
    /// The prompt; if there is none, the model is loaded, or let go of.
    prompt: Option<String>,
    /// What follows the answer, for models that fill in.
    suffix: Option<String>,
    /// What the model is to be.
    system: Option<String>,
    /// A template as Ollama has them, in place of the model's own.
    template: Option<String>,
    /// Tokens of an earlier answer, to go on from.
    #[schema(value_type = Option<Vec<u32>>)]
    context: Option<Vec<TokenId>>,
    /// Whether the answer comes in lines; it does unless this says no.
    stream: Option<bool>,
    /// Whether the prompt is taken as it is, without a template.
    raw: Option<bool>,
    /// `"json"`, or a JSON schema that the answer follows.
    format: Option<Value>,
    /// How long the model stays in memory: seconds, or a duration such as `5m`; below zero is for ever.
    keep_alive: Option<Value>,
    /// Models here see none.
    images: Option<Vec<Value>>,
    /// How tokens are chosen: `temperature`, `top_k`, `top_p`, `min_p`, `seed`, `num_predict`, `stop` and others.
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// Whether the model thinks aloud first: a boolean, or `low`, `medium`, `high`, `max`.
    think: Option<Value>,
    /// Whether tokens come with their log-probabilities.
    logprobs: Option<bool>,
    /// With how many alternatives, up to 20.
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<i64>,
    /// Whether the oldest tokens go when the context is full, or the answer ends.
    shift: Option<bool>,
    /// Whether a prompt that is too long loses its oldest part; refused otherwise.
    truncate: Option<bool>,
}

pub(crate) async fn generate(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let start = Instant::now();
    let wanted: GenerateBody = crate::body::read(&bytes)?;
    app.check_name(&wanted.model)?;
    let stay = Stay::read(wanted.keep_alive.as_ref())?;
    let guard = Hold::new(app, stay);
    let is_streamed = wanted.stream != Some(false);
    let prompt = wanted.prompt.clone().unwrap_or_default();
    check(app, &wanted)?;
    if prompt.is_empty() && wanted.suffix.as_deref().unwrap_or("").is_empty() && wanted.context.is_none() {
        return Ok(lines::loaded(app, &wanted.model, stay, Form::Response, is_streamed));
    }
    let options = Options::read(wanted.options.as_ref())?;
    let thinks = thinking(app, wanted.think.as_ref())?;
    let is_raw = wanted.raw == Some(true);
    let rendered = render(app, &wanted, thinks).await?;
    let request = GenerateRequest {
        prompt: rendered.tokens.clone(),
        max_tokens: options.max_tokens,
        overflow: if wanted.truncate == Some(false) { Overflow::Stop } else { options.overflow(wanted.shift) },
        logprobs: reply::n_logprobs(wanted.logprobs, wanted.top_logprobs)?,
        sampling: options.sampling,
        stop: options.stop,
        constraint: app.constrain(Shape::of_ollama(wanted.format.as_ref())?).await?,
        ..GenerateRequest::default()
    };
    let splits = !is_raw && app.facts.has_thinking() && thinks != Some(false);
    let splitter = Splitter::new(splits, rendered.opens_thinking, false);
    let head = Head { model: wanted.model, start, form: Form::Response };
    let mut lines = Lines::new(head, splitter, Arc::clone(&app.facts.tokenizer), guard);
    lines.context = (!is_raw).then_some(rendered.tokens);
    lines.answer(Answer::begin(app, request).await?, is_streamed).await
}

/// What does not fit together, or does not apply to this model.
fn check(app: &App, body: &GenerateBody) -> Result<(), Failure> {
    let is_raw = body.raw == Some(true);
    let has = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if is_raw && (has(&body.template) || has(&body.system) || body.context.as_ref().is_some_and(|c| !c.is_empty())) {
        return Err(Failure::bad("raw mode does not support template, system, or context"));
    }
    if has(&body.suffix) && !body.template.as_ref().is_some_and(|template| template.contains(".Suffix")) {
        return Err(Failure::bad(format!("{} does not support insert", app.facts.name)));
    }
    if body.images.as_ref().is_some_and(|images| !images.is_empty()) {
        return Err(Failure::bad(format!("{} does not support images: it takes text only", app.facts.name)));
    }
    let n_vocab = app.facts.tokenizer.vocab_len();
    match body.context.iter().flatten().find(|token| **token as usize >= n_vocab) {
        Some(token) => {
            Err(Failure::bad_field("context", format!("context has the token {token}, and there are {n_vocab}")))
        }
        None => Ok(()),
    }
}

/// Whether the model is to think, if the request says so.
///
/// Errors: this one cannot.
pub(super) fn thinking(app: &App, think: Option<&Value>) -> Result<Option<bool>, Failure> {
    let on = match think {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Bool(on)) => *on,
        Some(Value::String(level)) if ["low", "medium", "high", "max"].contains(&level.as_str()) => true,
        Some(_) => {
            return Err(Failure::bad_field(
                "think",
                "think must be a boolean or \"low\", \"medium\", \"high\" or \"max\"",
            ));
        }
    };
    if on && !app.facts.has_thinking() {
        return Err(Failure::bad_field("think", format!("\"{}\" does not support thinking", app.facts.name)));
    }
    Ok(Some(on))
}

/// The prompt's tokens, behind those of an earlier answer's `context`.
async fn render(app: &Arc<App>, body: &GenerateBody, thinking: Option<bool>) -> Result<Prompt, Failure> {
    let prompt = body.prompt.clone().unwrap_or_default();
    let before = body.context.clone().unwrap_or_default();
    let system = body.system.clone().filter(|system| !system.is_empty());
    let template = body.template.clone().filter(|template| !template.is_empty());
    let suffix = body.suffix.clone().unwrap_or_default();
    let is_raw = body.raw == Some(true);
    app.aside(move |app| {
        let facts = &app.facts;
        if is_raw {
            return Ok(Prompt { tokens: facts.encode(&prompt), text: prompt, opens_thinking: false });
        }
        let mut rendered = match template {
            Some(template) => {
                let [system, prompt, suffix] =
                    [system.as_deref().unwrap_or(""), &prompt, &suffix].map(|text| facts.tokenizer.mark(text));
                let variables = Variables { system: &system, prompt: &prompt, suffix: &suffix };
                facts.prompt(&go_template::render(&template, variables)?)
            }
            None => {
                let mut messages = Vec::new();
                if let Some(system) = system {
                    messages.push(Value::Object(message("system", &json!(system))?));
                }
                messages.push(Value::Object(message("user", &json!(prompt))?));
                facts.render(&Conversation { messages, thinking, ..Conversation::default() })?
            }
        };
        if !before.is_empty() {
            rendered.tokens.splice(0..0, before);
        }
        Ok(rendered)
    })
    .await
}
