//! Writes answers of `/v1/chat/completions`, as one object or in chunks.

use std::sync::Arc;

use engine::{FinishReason, Generation};
use model::Tokenizer;
use serde::Serialize;

use super::envelope::{Envelope, Object};
use super::logprobs::Entry;
use super::reply::{IDLE, error_event, new_id};
use crate::answer::Piece;
use crate::parts::{Part, Splitter};
use crate::stream::Format;

/// Writes the answers.
pub(super) struct ChatWriter {
    pub(super) envelope: Envelope,
    pub(super) choices: Vec<ChatChoice>,
    pub(super) tokenizer: Arc<Tokenizer>,
}

/// The `object` of chunks.
const CHUNK: &str = "chat.completion.chunk";

/// The progress of an answer.
#[derive(Clone, Debug)]
pub(super) struct ChatChoice {
    pub(super) splitter: Splitter,
    pub(super) n_calls: usize,
    pub(super) is_parallel: bool,
    /// Those of tokens whose text is still held back, if requested.
    pub(super) logprobs: Option<Vec<Entry>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Finished {
    index: usize,
    message: Said,
    logprobs: Option<Logprobs>,
    finish_reason: &'static str,
}

/// A complete answer.
#[derive(Debug, Default, Serialize)]
struct Said {
    role: &'static str,
    /// `None` if there are only calls.
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
struct ChunkChoice {
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

/// A tool call, or the next piece of one.
#[derive(Debug, Default, Serialize)]
struct Called {
    /// In chunks, which call this continues.
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
        Called { index: None, id: Some(new_id("call_")), r#type: Some("function"), function }
    }
}

impl ChatChoice {
    /// Drops calls after the first unless several are allowed.
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

impl ChatWriter {
    pub(super) fn whole(mut self, generations: &[Generation]) -> Object<'static, Finished> {
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
        self.envelope.chunk(CHUNK, vec![ChunkChoice { index, delta, logprobs, finish_reason }])
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

impl Format for ChatWriter {
    fn begin(&mut self) -> String {
        let first = || Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() };
        (0..self.choices.len()).map(|index| self.delta(index, first(), None)).collect()
    }

    fn piece(&mut self, index: usize, piece: Piece) -> String {
        let choice = &mut self.choices[index];
        match piece {
            Piece::Text { text, logprobs, .. } => {
                if let (Some(entries), Some(step)) = (&mut choice.logprobs, logprobs) {
                    entries.push(Entry::new(&self.tokenizer, &step));
                }
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
    use serde_json::{Value, json};

    use super::super::reply::DONE;
    use super::super::testing::{failure, generation, objects, played, tokenizer};
    use super::*;

    fn writer(splitter: Splitter, is_parallel: bool) -> ChatWriter {
        let choice = ChatChoice { splitter, n_calls: 0, is_parallel, logprobs: None };
        ChatWriter { envelope: Envelope::of_test(), choices: vec![choice], tokenizer: tokenizer() }
    }

    fn as_json(writer: ChatWriter, generations: &[Generation]) -> Value {
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
}
