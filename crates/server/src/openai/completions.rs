//! Handler of `/v1/completions`: continues texts without a template.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use engine::{FinishReason, GenerateRequest, Generation};
use futures_util::future::try_join_all;
use model::{SpecialTokens, TokenId, Tokenizer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ask::begin_all;
use super::envelope::{Envelope, Object, StreamOptions};
use super::logprobs::{self, Columns};
use super::reply::{IDLE, error_event, events, model_name, object};
use super::sampling::{Sampling, count, max_tokens};
use crate::answer::{Answer, Piece};
use crate::app::{App, Facts};
use crate::failure::Failure;
use crate::hold::Hold;
use crate::stream::{Format, body};
use crate::structured::Shape;

/// OpenAI's limit of a completion where a request sets none.
const MAX_TOKENS: i64 = 16;

/// The most prompts that a request may bring.
const MAX_PROMPTS: usize = 128;

/// The request, besides [`Sampling`].
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::CompletionBody)]
pub(super) struct CompletionBody {
    model: Option<String>,
    #[schema(required = true)]
    prompt: Option<TextInput>,
    suffix: Option<String>,
    echo: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    logprobs: Option<i64>,
    best_of: Option<i64>,
    /// vLLM has it here too.
    response_format: Option<Value>,
}

/// Texts, or tokens.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "it must be a string, an array of strings, an array of tokens, or an array of such arrays"
)]
#[schema(as = openai::Input)]
pub(super) enum TextInput {
    Text(String),
    Texts(Vec<String>),
    #[schema(value_type = Vec<u32>)]
    Tokens(Vec<TokenId>),
    #[schema(value_type = Vec<Vec<u32>>)]
    TokenLists(Vec<Vec<TokenId>>),
}

impl TextInput {
    /// The tokens of each.
    ///
    /// Errors: there is no such token.
    pub(super) fn tokens(self, facts: &Facts, param: &'static str) -> Result<Vec<Vec<TokenId>>, Failure> {
        let lists = match self {
            TextInput::Text(text) => vec![facts.encode(&text)],
            TextInput::Texts(texts) => texts.iter().map(|text| facts.encode(text)).collect(),
            TextInput::Tokens(tokens) => vec![tokens],
            TextInput::TokenLists(lists) => lists,
        };
        let n_vocab = facts.tokenizer.vocab_len();
        match lists.iter().flatten().find(|token| **token as usize >= n_vocab) {
            Some(token) => {
                let message = format!("{param} has the token {token}, and they go from 0 to {}", n_vocab - 1);
                Err(Failure::bad_field(param, message))
            }
            None => Ok(lists),
        }
    }

    /// The text of each.
    fn texts(&self, tokenizer: &Tokenizer) -> Vec<String> {
        let text = |tokens: &Vec<TokenId>| {
            let pieces = tokens.iter().flat_map(|id| tokenizer.piece(*id, SpecialTokens::Show).into_owned());
            String::from_utf8_lossy(&pieces.collect::<Vec<u8>>()).into_owned()
        };
        match self {
            TextInput::Text(text) => vec![text.clone()],
            TextInput::Texts(texts) => texts.clone(),
            TextInput::Tokens(tokens) => vec![text(tokens)],
            TextInput::TokenLists(lists) => lists.iter().map(text).collect(),
        }
    }
}

pub(crate) async fn completions(State(app): State<Arc<App>>, bytes: Bytes) -> Result<Response, Failure> {
    let app = &app;
    let mut wanted: CompletionBody = crate::body::read(&bytes)?;
    let sampling: Sampling = crate::body::read(&bytes)?;
    let model = model_name(app, wanted.model.take())?;
    let guard = Hold::new(app, None);
    let numbers = Numbers::read(&wanted, &sampling)?;
    let shape = Shape::of_openai(wanted.response_format.as_ref(), "response_format")?;
    let request = GenerateRequest {
        max_tokens: max_tokens("max_tokens", wanted.max_tokens.or(Some(MAX_TOKENS)), 0)?,
        sampling: sampling.options(app.facts.tokenizer.vocab_len())?,
        stop: sampling.stops()?,
        // The best ones are told by them.
        logprobs: numbers.logprobs.or((numbers.best_of > numbers.n).then_some(0)),
        constraint: app.constrain(shape).await?,
        ..GenerateRequest::default()
    };
    let input = wanted.prompt.ok_or_else(|| Failure::bad_field("prompt", "prompt is missing"))?;
    let is_echoed = wanted.echo == Some(true);
    let read = move |app: &App| {
        let texts = if is_echoed { input.texts(&app.facts.tokenizer) } else { Vec::new() };
        Ok((texts, input.tokens(&app.facts, "prompt")?))
    };
    let (texts, prompts) = app.aside(read).await?;
    if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
        let message = format!("a request must have 1 to {MAX_PROMPTS} prompts, not {}", prompts.len());
        return Err(Failure::bad_field("prompt", message));
    }
    let n_choices = prompts.len() * numbers.n;
    let echoed = texts.into_iter().flat_map(|text| std::iter::repeat_n(text, numbers.n));
    let mut writer = TextWriter {
        envelope: Envelope::new(app, "cmpl-", model, wanted.stream_options, guard),
        n: numbers.n,
        echoed: echoed.collect(),
        choices: vec![TextChoice { offset: 0, columns: numbers.logprobs.map(|_| Columns::default()) }; n_choices],
        tokenizer: Arc::clone(&app.facts.tokenizer),
    };
    let begin = |prompt: &Vec<TokenId>| {
        let request = GenerateRequest { prompt: prompt.clone(), ..request.clone() };
        async move { begin_all(app, &request, numbers.best_of).await }
    };
    if wanted.stream == Some(true) {
        let answers = try_join_all(prompts.iter().map(begin)).await?;
        return Ok(events(body(answers.into_iter().flatten().collect(), writer)));
    }
    // As many at once as the engine takes in a pass or two; the rest waits here and not in its queue.
    let mut choices = Vec::new();
    for prompts in prompts.chunks((app.max_batch / numbers.best_of).max(1)) {
        for answers in try_join_all(prompts.iter().map(begin)).await? {
            let generations = try_join_all(answers.into_iter().map(Answer::whole)).await?;
            choices.extend(writer.best(generations));
        }
    }
    Ok(object(&writer.whole(choices)))
}

/// How many answers, and how much of them.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    n: usize,
    best_of: usize,
    logprobs: Option<usize>,
}

impl Numbers {
    /// Reads them, and checks what does not go together.
    fn read(wanted: &CompletionBody, sampling: &Sampling) -> Result<Numbers, Failure> {
        let n = sampling.n()?;
        let best_of = count("best_of", wanted.best_of, n)?;
        let logprobs = logprobs::number(wanted.logprobs, "logprobs")?;
        if best_of < n {
            return Err(Failure::bad_field("best_of", format!("best_of must be {n} or more, as n is")));
        }
        if best_of > n && wanted.stream == Some(true) {
            let message = "best_of cannot be streamed: the best is known at the end. Leave out stream or best_of";
            return Err(Failure::bad_field("best_of", message));
        }
        if wanted.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(Failure::bad_field(
                "suffix",
                "suffix is not supported: this server continues texts at their end",
            ));
        }
        if wanted.echo == Some(true) && logprobs.is_some() {
            let message = "echo and logprobs do not go together here: the prompt's tokens have no log-probabilities";
            return Err(Failure::bad_field("logprobs", message));
        }
        Ok(Numbers { n, best_of, logprobs })
    }
}

/// Writes the texts.
struct TextWriter {
    envelope: Envelope,
    /// Answers to each prompt.
    n: usize,
    /// What is shown before each answer, if anything.
    echoed: Vec<String>,
    choices: Vec<TextChoice>,
    tokenizer: Arc<Tokenizer>,
}

/// The `object` of all.
const OBJECT: &str = "text_completion";

/// How far an answer is.
#[derive(Clone, Debug)]
struct TextChoice {
    /// Characters of the text so far.
    offset: usize,
    /// Of tokens whose text has not been shown, if they are wanted.
    columns: Option<Columns>,
}

#[derive(Debug, Serialize)]
struct Chosen {
    text: String,
    index: usize,
    logprobs: Option<Columns>,
    finish_reason: Option<&'static str>,
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Cancelled => "stop",
    }
}

/// The mean log-probability of an answer's tokens.
#[expect(clippy::cast_precision_loss, reason = "it is a mean")]
fn mean_logprob(generation: &Generation) -> f32 {
    let sum: f32 = generation.logprobs.iter().map(|step| step.chosen.logprob).sum();
    sum / generation.logprobs.len().max(1) as f32
}

impl TextWriter {
    /// Counts the answers to a prompt; the best of them, if there are more than are wanted.
    fn best(&mut self, mut generations: Vec<Generation>) -> Vec<Generation> {
        for (index, generation) in generations.iter().enumerate() {
            self.envelope.usage.add(generation, index == 0);
        }
        if generations.len() > self.n {
            generations.sort_by(|a, b| mean_logprob(b).total_cmp(&mean_logprob(a)));
            generations.truncate(self.n);
        }
        generations
    }

    fn whole(mut self, generations: Vec<Generation>) -> Object<'static, Chosen> {
        let mut choices = Vec::new();
        for (index, (generation, choice)) in generations.into_iter().zip(&mut self.choices).enumerate() {
            for step in &generation.logprobs {
                choice.push(&self.tokenizer, step);
            }
            let echoed = self.echoed.get(index).cloned().unwrap_or_default();
            choices.push(Chosen {
                text: echoed + &generation.text,
                index,
                logprobs: choice.columns.take(),
                finish_reason: Some(finish_reason(generation.finish_reason)),
            });
        }
        self.envelope.whole(OBJECT, choices)
    }

    fn text(&mut self, index: usize, text: String, finish_reason: Option<&'static str>) -> String {
        if text.is_empty() && finish_reason.is_none() {
            return String::new();
        }
        let logprobs = self.choices[index].columns.as_mut().map(std::mem::take).filter(|columns| !columns.is_empty());
        self.envelope.chunk(OBJECT, vec![Chosen { text, index, logprobs, finish_reason }])
    }
}

impl TextChoice {
    fn push(&mut self, tokenizer: &Tokenizer, step: &engine::StepLogprobs) {
        if let Some(columns) = &mut self.columns {
            columns.push(tokenizer, step, &mut self.offset);
        }
    }
}

impl Format for TextWriter {
    fn begin(&mut self) -> String {
        let echoed = std::mem::take(&mut self.echoed);
        echoed.into_iter().enumerate().map(|(index, text)| self.text(index, text, None)).collect()
    }

    fn piece(&mut self, index: usize, piece: Piece) -> String {
        match piece {
            Piece::Text { text, logprobs, .. } => {
                if let Some(step) = logprobs {
                    self.choices[index].push(&self.tokenizer, &step);
                }
                self.text(index, text, None)
            }
            Piece::Done(generation) => {
                self.envelope.usage.add(&generation, index.is_multiple_of(self.n));
                self.text(index, String::new(), Some(finish_reason(generation.finish_reason)))
            }
            Piece::Failed(failure) => error_event(&failure),
        }
    }

    fn end(&mut self) -> String {
        self.envelope.end(OBJECT)
    }

    fn idle(&self) -> &'static str {
        IDLE
    }
}
