//! Writes answers of `/api/chat` and `/api/generate`, in lines or as one object. They differ in where the text is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use engine::{Generation, StepLogprobs};
use model::{TokenId, Tokenizer};
use serde_json::{Value, json};

use super::reply;
use crate::answer::{Answer, Piece};
use crate::app::App;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::keep_alive::Stay;
use crate::parts::{Part, Splitter};
use crate::stream::{Format, body};

/// Where an answer has its text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// In a message, as `/api/chat` has it, with calls of tools.
    Message,
    /// In `response`, as `/api/generate` has it.
    Response,
}

/// What all objects of an answer have in common.
pub(super) struct Head {
    /// As the client has named it.
    pub(super) model: String,
    /// When the request came.
    pub(super) start: Instant,
    pub(super) form: Form,
}

/// Writes an answer.
pub(super) struct Lines {
    head: Head,
    splitter: Splitter,
    tokenizer: Arc<Tokenizer>,
    /// The prompt, which comes back at the end with the answer for the next request to go on from, if it is to.
    pub(super) context: Option<Vec<TokenId>>,
    /// Of tokens whose text has not been shown.
    logprobs: Vec<Value>,
    n_calls: usize,
    _guard: Hold,
}

impl Form {
    fn object(self, model: &str, text: &str, thinking: &str, calls: Vec<Value>) -> Value {
        let mut object = json!({ "model": model, "created_at": reply::now() });
        let said = match self {
            Form::Message => {
                object["message"] = json!({ "role": "assistant", "content": text });
                &mut object["message"]
            }
            Form::Response => {
                object["response"] = json!(text);
                &mut object
            }
        };
        if !thinking.is_empty() {
            said["thinking"] = json!(thinking);
        }
        if !calls.is_empty() {
            said["tool_calls"] = Value::Array(calls);
        }
        object["done"] = json!(false);
        object
    }
}

/// The answer to a request that asks for nothing: the model is loaded, or let go of.
pub(super) fn loaded(app: &App, model: &str, stay: Option<Stay>, form: Form, is_streamed: bool) -> Response {
    let goes = stay == Some(Stay::For(Duration::ZERO));
    if goes {
        app.service.unload();
    }
    let mut object = form.object(model, "", "", Vec::new());
    object["done"] = json!(true);
    object["done_reason"] = json!(if goes { "unload" } else { "load" });
    if is_streamed { reply::lines(reply::line(&object).into()) } else { reply::object(&object) }
}

impl Lines {
    pub(super) fn new(head: Head, splitter: Splitter, tokenizer: Arc<Tokenizer>, guard: Hold) -> Lines {
        Lines { head, splitter, tokenizer, context: None, logprobs: Vec::new(), n_calls: 0, _guard: guard }
    }

    /// The response: lines as they come, or one object when all is there.
    ///
    /// Errors: a pass has failed before anything was sent.
    pub(super) async fn answer(mut self, answer: Answer, is_streamed: bool) -> Result<Response, Failure> {
        if is_streamed {
            return Ok(reply::lines(body(vec![answer], self)));
        }
        let generation = answer.whole().await?;
        generation.logprobs.iter().for_each(|step| self.add_logprobs(Some(step)));
        let mut parts = self.splitter.push(&generation.text);
        parts.extend(self.splitter.finish());
        let object = self.last(parts, &generation);
        Ok(reply::object(&object))
    }

    fn add_logprobs(&mut self, step: Option<&StepLogprobs>) {
        self.logprobs.extend(step.map(|step| reply::logprobs(&self.tokenizer, step)));
    }

    fn object(&mut self, parts: Vec<Part>) -> Value {
        let (mut text, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text(more) => text += &more,
                Part::Thinking(more) => thinking += &more,
                Part::Call { name, arguments } => {
                    let function = json!({ "index": self.n_calls, "name": name, "arguments": arguments });
                    calls.push(json!({ "id": format!("call_{:08x}", rand::random::<u32>()), "function": function }));
                    self.n_calls += 1;
                }
            }
        }
        let mut object = self.head.form.object(&self.head.model, &text, &thinking, calls);
        if !self.logprobs.is_empty() {
            object["logprobs"] = Value::Array(std::mem::take(&mut self.logprobs));
        }
        object
    }

    /// A line for some parts, or nothing if there are none yet.
    fn shown(&mut self, parts: Vec<Part>) -> String {
        if parts.is_empty() { String::new() } else { reply::line(&self.object(parts)) }
    }

    /// The object that ends an answer.
    fn last(&mut self, parts: Vec<Part>, generation: &Generation) -> Value {
        let mut object = self.object(parts);
        if let Some(context) = self.context.take() {
            object["context"] = json!([&context[..], &generation.tokens].concat());
        }
        reply::add_totals(&mut object, generation, self.head.start);
        object
    }
}

impl Format for Lines {
    fn piece(&mut self, _: usize, piece: Piece) -> String {
        match piece {
            Piece::Text { text, logprobs, .. } => {
                self.add_logprobs(logprobs.as_ref());
                let parts = self.splitter.push(&text);
                self.shown(parts)
            }
            Piece::Done(generation) => {
                let parts = self.splitter.finish();
                self.shown(parts) + &reply::line(&self.last(Vec::new(), &generation))
            }
            Piece::Failed(failure) => reply::error_line(&failure),
        }
    }
}
