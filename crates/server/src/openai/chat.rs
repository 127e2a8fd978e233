//! `/v1/chat/completions`: a conversation.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use engine::{FinishReason, Generation};
use futures_util::future::try_join_all;
use model::Tokenizer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ask::{Ask, Tools};
use super::envelope::{Envelope, Object, StreamOptions};
use super::logprobs::Entry;
use super::sampling::{Sampling, max_tokens};
use super::{IDLE, error_event, events, object, respond};
use crate::answer::{Answer, Piece};
use crate::app::App;
use crate::failure::Failure;
use crate::keep_alive::Guard;
use crate::parts::{Part, Splitter};
use crate::prompt::{Conversation, message, tool_call};
use crate::stream::{Format, body};
use crate::structured::Shape;

/// Who may speak; `function` is what `tool` was called once.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// The request, besides [`Sampling`].
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ChatBody)]
pub(super) struct ChatBody {
    model: Option<String>,
    #[schema(required = true)]
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    response_format: Option<Value>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    reasoning_effort: Option<String>,
    chat_template_kwargs: Option<TemplateOptions>,
}

/// What llama.cpp and vLLM let through to the template, as far as it is known here.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::TemplateOptions)]
struct TemplateOptions {
    enable_thinking: Option<bool>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Message)]
struct Message {
    #[schema(required = true)]
    #[serde(default)]
    role: String,
    content: Option<Value>,
    name: Option<String>,
    tool_calls: Option<Vec<Call>>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Call)]
struct Call {
    id: Option<String>,
    #[serde(default)]
    function: Function,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Function)]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: Value,
}

pub(super) async fn chat(State(app): State<Arc<App>>, bytes: Bytes) -> Response {
    respond(answer(&app, &bytes).await)
}

async fn answer(app: &Arc<App>, bytes: &Bytes) -> Result<Response, Failure> {
    let mut wanted: ChatBody = crate::body::read(bytes)?;
    let sampling: Sampling = crate::body::read(bytes)?;
    let model = super::model_name(app, wanted.model.take())?;
    let guard = Guard::new(app, None);
    let messages = wanted.messages.filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| Failure::bad_field("messages", "messages are missing: send one at least"))?;
    let messages = messages.into_iter().map(Message::for_template).collect::<Result<_, _>>()?;
    let told = wanted.chat_template_kwargs.and_then(|options| options.enable_thinking);
    let thinking = told.or(wanted.reasoning_effort.map(|effort| effort != "none"));
    let max_tokens = match wanted.max_completion_tokens {
        None => max_tokens("max_tokens", wanted.max_tokens, 1)?,
        some => max_tokens("max_completion_tokens", some, 1)?,
    };
    let logprobs = super::logprobs::of_chat(wanted.logprobs, wanted.top_logprobs)?;
    let tool_choice = wanted.tool_choice.as_ref();
    let ask = Ask {
        conversation: Conversation { messages, thinking, ..Conversation::default() },
        tools: Tools::read(wanted.tools, tool_choice, wanted.parallel_tool_calls)?,
        shape: Shape::of_openai(wanted.response_format.as_ref(), "response_format")?,
        sampling,
        max_tokens,
        logprobs,
        truncates: false,
    };
    let is_parallel = ask.tools.is_parallel;
    let (answers, splitter) = ask.begin(app).await?;
    let choice = Choice { splitter, n_calls: 0, is_parallel, logprobs: logprobs.map(|_| Vec::new()) };
    let writer = Writer {
        envelope: Envelope::new(app, "chatcmpl-", model, wanted.stream_options, guard),
        choices: vec![choice; answers.len()],
        tokenizer: Arc::clone(&app.facts.tokenizer),
    };
    if wanted.stream == Some(true) {
        return Ok(events(body(answers, writer)));
    }
    let generations = try_join_all(answers.into_iter().map(Answer::whole)).await?;
    Ok(object(&writer.whole(&generations)))
}

impl Message {
    /// As a chat template sees it.
    fn for_template(self) -> Result<Value, Failure> {
        if !ROLES.contains(&self.role.as_str()) {
            let message = format!("{:?} is no role of a message: use one of {}", self.role, ROLES.join(", "));
            return Err(Failure::bad_field("messages", message));
        }
        let content = self.content.unwrap_or_default();
        if content.is_null() && self.role != "assistant" {
            return Err(Failure::bad_field("messages", format!("a message of the {} has no content", self.role)));
        }
        let role = if self.role == "function" { "tool" } else { &self.role };
        let mut message = message(role, &content)?;
        if let Some(calls) = self.tool_calls.filter(|calls| !calls.is_empty()) {
            let call = |call: &Call| tool_call(call.id.as_deref(), &call.function.name, &call.function.arguments);
            message.insert("tool_calls".to_owned(), calls.iter().map(call).collect());
        }
        let more =
            [("name", self.name), ("tool_call_id", self.tool_call_id), ("reasoning_content", self.reasoning_content)];
        message.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))));
        Ok(Value::Object(message))
    }
}

/// Writes the answers.
struct Writer {
    envelope: Envelope,
    choices: Vec<Choice>,
    tokenizer: Arc<Tokenizer>,
}

/// The chunks' `object`.
const CHUNK: &str = "chat.completion.chunk";

/// How far an answer is.
#[derive(Clone, Debug)]
struct Choice {
    splitter: Splitter,
    n_calls: usize,
    is_parallel: bool,
    /// Of tokens whose text has not been shown, if they are wanted.
    logprobs: Option<Vec<Entry>>,
}

#[derive(Debug, Serialize)]
struct Finished {
    index: usize,
    message: Said,
    logprobs: Option<Logprobs>,
    finish_reason: &'static str,
}

/// An answer as a whole.
#[derive(Debug, Default, Serialize)]
struct Said {
    role: &'static str,
    /// None beside calls.
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Called>,
}

#[derive(Debug, Serialize)]
struct Logprobs {
    content: Vec<Entry>,
    refusal: Option<Vec<Entry>>,
}

#[derive(Debug, Serialize)]
struct Chosen {
    index: usize,
    delta: Delta,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Called>,
}

/// A call of a tool, or what is new of one.
#[derive(Debug, Default, Serialize)]
struct Called {
    /// Chunks say which call they go on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: CalledFunction,
}

#[derive(Debug, Default, Serialize)]
struct CalledFunction {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    arguments: String,
}

impl Called {
    fn new(name: String, arguments: String) -> Called {
        let function = CalledFunction { name: Some(name), arguments };
        Called { index: None, id: Some(super::new_id("call_")), r#type: Some("function"), function }
    }
}

impl Choice {
    /// Leaves out calls that are more than the request wants.
    fn wanted(&mut self, mut parts: Vec<Part>) -> Vec<Part> {
        parts.retain(|part| {
            let is_call = matches!(part, Part::Call { .. });
            self.n_calls += usize::from(is_call);
            !is_call || self.is_parallel || self.n_calls == 1
        });
        parts
    }

    fn finish_reason(&self, reason: FinishReason) -> &'static str {
        match reason {
            FinishReason::Length => "length",
            FinishReason::Stop | FinishReason::Cancelled if self.n_calls > 0 => "tool_calls",
            FinishReason::Stop | FinishReason::Cancelled => "stop",
        }
    }

    fn take_logprobs(&mut self) -> Option<Logprobs> {
        let content = self.logprobs.as_mut().map(std::mem::take).filter(|entries| !entries.is_empty())?;
        Some(Logprobs { content, refusal: None })
    }
}

impl Writer {
    fn whole(mut self, generations: &[Generation]) -> Object<'static, Finished> {
        let mut choices = Vec::new();
        for (index, (generation, choice)) in generations.iter().zip(&mut self.choices).enumerate() {
            let mut parts = choice.splitter.push(&generation.text);
            parts.extend(choice.splitter.finish());
            let message = Said::new(choice.wanted(parts));
            let entries = || generation.logprobs.iter().map(|step| Entry::new(&self.tokenizer, step)).collect();
            let logprobs = choice.logprobs.is_some().then(|| Logprobs { content: entries(), refusal: None });
            let finish_reason = choice.finish_reason(generation.finish_reason);
            choices.push(Finished { index, message, logprobs, finish_reason });
            self.envelope.usage.add(generation, index == 0);
        }
        self.envelope.whole("chat.completion", choices)
    }

    fn delta(&mut self, index: usize, delta: Delta, finish_reason: Option<&'static str>) -> String {
        let logprobs = self.choices[index].take_logprobs();
        self.envelope.chunk(CHUNK, vec![Chosen { index, delta, logprobs, finish_reason }])
    }

    fn parts(&mut self, index: usize, parts: Vec<Part>) -> String {
        let before = self.choices[index].n_calls;
        let parts = self.choices[index].wanted(parts);
        let mut calls = before..;
        let mut text = String::new();
        for part in parts {
            text += &match part {
                Part::Text(text) => self.delta(index, Delta { content: Some(text), ..Delta::default() }, None),
                Part::Thinking(text) => {
                    self.delta(index, Delta { reasoning_content: Some(text), ..Delta::default() }, None)
                }
                Part::Call { name, arguments } => {
                    let call = calls.next();
                    let begin = Called { index: call, ..Called::new(name, String::new()) };
                    let function = CalledFunction { name: None, arguments: arguments.to_string() };
                    let rest = Called { index: call, function, ..Called::default() };
                    let delta = |call| Delta { tool_calls: vec![call], ..Delta::default() };
                    self.delta(index, delta(begin), None) + &self.delta(index, delta(rest), None)
                }
            };
        }
        text
    }
}

impl Said {
    fn new(parts: Vec<Part>) -> Said {
        let (mut content, mut reasoning, mut tool_calls) = (String::new(), String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text(text) => content += &text,
                Part::Thinking(text) => reasoning += &text,
                Part::Call { name, arguments } => tool_calls.push(Called::new(name, arguments.to_string())),
            }
        }
        Said {
            role: "assistant",
            content: Some(content).filter(|text| tool_calls.is_empty() || !text.is_empty()),
            refusal: None,
            reasoning_content: Some(reasoning).filter(|text| !text.is_empty()),
            tool_calls,
        }
    }
}

impl Format for Writer {
    fn begin(&mut self) -> String {
        let first = || Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() };
        (0..self.choices.len()).map(|index| self.delta(index, first(), None)).collect()
    }

    fn piece(&mut self, index: usize, piece: Piece) -> String {
        let choice = &mut self.choices[index];
        match piece {
            Piece::Token { text, logprobs, .. } => {
                if let (Some(entries), Some(step)) = (&mut choice.logprobs, logprobs) {
                    entries.push(Entry::new(&self.tokenizer, &step));
                }
                let parts = choice.splitter.push(&text);
                self.parts(index, parts)
            }
            Piece::Rest(text) => {
                let parts = choice.splitter.push(&text);
                self.parts(index, parts)
            }
            Piece::Done(generation) => {
                let parts = choice.splitter.finish();
                let rest = self.parts(index, parts);
                self.envelope.usage.add(&generation, index == 0);
                let reason = self.choices[index].finish_reason(generation.finish_reason);
                rest + &self.delta(index, Delta::default(), Some(reason))
            }
            Piece::Failed(failure) => error_event(&failure),
        }
    }

    fn end(&mut self) -> String {
        self.envelope.end(CHUNK)
    }

    fn idle(&self) -> &'static str {
        IDLE
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::DONE;
    use super::super::testing::{failure, generation, objects, played, tokenizer};
    use super::*;

    fn writer(splitter: Splitter, is_parallel: bool) -> Writer {
        let choice = Choice { splitter, n_calls: 0, is_parallel, logprobs: None };
        Writer { envelope: Envelope::of_test(), choices: vec![choice], tokenizer: tokenizer() }
    }

    fn as_json(writer: Writer, generations: &[Generation]) -> Value {
        serde_json::to_value(writer.whole(generations)).expect("it can be written")
    }

    const ANSWER: &str = "<think>Hm.</think>I look.\n<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\"}}</tool_call>\
                          <tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";

    #[test]
    fn thoughts_and_calls_are_told_apart_streamed_or_not() {
        let new = || writer(Splitter::new(true, false, true), true);
        let whole = as_json(new(), &[generation(ANSWER, FinishReason::Stop)]);
        let choice = &whole["choices"][0];
        let message = &choice["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("I look.\n"), &json!("Hm.")));
        assert_eq!(choice["finish_reason"], "tool_calls");
        let weather = json!({ "name": "weather", "arguments": "{\"city\":\"Oslo\"}" });
        assert_eq!(message["tool_calls"][0]["function"], weather);
        assert_eq!(message["tool_calls"][1]["function"], json!({ "name": "time", "arguments": "{}" }));

        let text = played(new(), ANSWER, FinishReason::Stop);
        assert!(text.ends_with(DONE));
        let chunks = objects(&text);
        let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
        let joined = |name: &str| deltas.iter().filter_map(|delta| delta[name].as_str()).collect::<String>();
        assert_eq!((joined("content"), joined("reasoning_content")), ("I look.\n".to_owned(), "Hm.".to_owned()));
        let calls: Vec<&Value> = deltas.iter().filter_map(|delta| delta.get("tool_calls")).collect();
        assert_eq!(calls.len(), 4);
        assert_eq!((&calls[0][0]["index"], &calls[0][0]["type"]), (&json!(0), &json!("function")));
        assert!(calls[0][0]["id"].as_str().is_some_and(|id| id.starts_with("call_")));
        assert_eq!(calls[0][0]["function"], json!({ "name": "weather", "arguments": "" }));
        assert_eq!(*calls[1], json!([{ "index": 0, "function": { "arguments": "{\"city\":\"Oslo\"}" } }]));
        assert_eq!(calls[2][0]["index"], 1);
        let (last, others) = chunks.split_last().expect("there are chunks");
        assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
        assert!(others.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    }

    #[test]
    fn calls_beside_one_another_may_be_unwanted() {
        let new = || writer(Splitter::new(true, false, true), false);
        let whole = as_json(new(), &[generation(ANSWER, FinishReason::Stop)]);
        assert_eq!(whole["choices"][0]["message"]["tool_calls"].as_array().map(Vec::len), Some(1));
        assert_eq!(played(new(), ANSWER, FinishReason::Stop).matches("\"weather\"").count(), 1);
        assert!(!played(new(), ANSWER, FinishReason::Stop).contains("\"time\""));
    }

    #[test]
    fn an_answer_of_a_call_only_has_no_content_and_one_cut_short_says_so() {
        let new = || writer(Splitter::new(false, false, true), true);
        let call = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
        let whole = as_json(new(), &[generation(call, FinishReason::Stop)]);
        assert!(whole["choices"][0]["message"]["content"].is_null());
        let whole = as_json(new(), &[generation(&call[..20], FinishReason::Length)]);
        // Half a call is neither a call nor text.
        assert_eq!(whole["choices"][0]["message"]["content"], "");
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
    }

    #[test]
    fn what_fails_half_way_is_told_in_the_stream() {
        let text = writer(Splitter::new(false, false, false), true).piece(0, failure());
        assert_eq!(objects(&text)[0]["error"]["type"], "server_error");
    }

    #[test]
    fn messages_are_checked() {
        let read = |message: Value| serde_json::from_value::<Message>(message).unwrap().for_template();
        let call = json!([{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }]);
        let said = read(json!({ "role": "assistant", "content": null, "tool_calls": call })).unwrap();
        assert_eq!(said["tool_calls"][0]["function"]["arguments"], json!({ "a": 1 }));
        assert_eq!(read(json!({ "role": "developer", "content": "x" })).unwrap()["role"], "system");
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        assert_eq!(read(json!({ "role": "user", "content": parts })).unwrap()["content"], "a\nb");
        for wrong in [
            json!({}),
            json!({ "role": "robot", "content": "x" }),
            json!({ "role": "user" }),
            json!({ "role": "user", "content": 1 }),
            json!({ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "x" } }] }),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err().param.as_deref(), Some("messages"), "{wrong}");
        }
    }
}
