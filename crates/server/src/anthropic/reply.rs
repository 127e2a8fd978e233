//! Writes an answer as Anthropic's clients read it: a message of blocks, at once or as events.

use engine::{FinishReason, Generation};
use serde_json::{Value, json};

use super::errors::{error_object, id};
use crate::answer::Piece;
use crate::hold::Hold;
use crate::parts::{Part, Splitter};
use crate::stream::Format;

const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// Writes an answer.
pub(super) struct Reply {
    id: String,
    pub(super) model: String,
    /// Tokens of the prompt.
    pub(super) n_prompt: usize,
    /// Whether thoughts are part of the answer, or left out.
    pub(super) shows_thinking: bool,
    /// Whether there may be several calls; if not, the first one counts.
    pub(super) is_parallel: bool,
    splitter: Splitter,
    /// The block that deltas go to.
    open: Option<BlockKind>,
    /// Blocks that have been closed.
    n_blocks: usize,
    has_called: bool,
    /// Keeps the model in memory.
    _guard: Option<Hold>,
}

/// What a block that grows holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockKind {
    Text,
    Thinking,
}

impl Reply {
    /// An answer that `splitter` takes apart.
    pub(super) fn new(splitter: Splitter, guard: Option<Hold>) -> Reply {
        Reply {
            id: id("msg"),
            model: String::new(),
            n_prompt: 0,
            shows_thinking: false,
            is_parallel: true,
            splitter,
            open: None,
            n_blocks: 0,
            has_called: false,
            _guard: guard,
        }
    }

    /// Events for some parts.
    fn shown(&mut self, parts: Vec<Part>) -> String {
        let mut all = String::new();
        for part in parts {
            match part {
                Part::Text(text) => {
                    self.open(&mut all, BlockKind::Text);
                    all += &self.delta(json!({ "type": "text_delta", "text": text }));
                }
                Part::Thinking(thinking) if self.shows_thinking => {
                    self.open(&mut all, BlockKind::Thinking);
                    all += &self.delta(json!({ "type": "thinking_delta", "thinking": thinking }));
                }
                // It may take long, and something has to be heard.
                Part::Thinking(_) => all += PING,
                Part::Call { .. } if self.has_called && !self.is_parallel => {}
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
    fn open(&mut self, all: &mut String, kind: BlockKind) {
        if self.open == Some(kind) {
            return;
        }
        self.close(all);
        self.open = Some(kind);
        *all += &self.start(match kind {
            BlockKind::Text => json!({ "type": "text", "text": "" }),
            BlockKind::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
        });
    }

    fn close(&mut self, all: &mut String) {
        let Some(kind) = self.open.take() else { return };
        if kind == BlockKind::Thinking {
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
    pub(super) fn whole(mut self, generation: &Generation) -> Value {
        let mut parts = self.splitter.push(&generation.text);
        parts.extend(self.splitter.finish());
        let mut content: Vec<Value> = Vec::new();
        for part in parts {
            let (kind, text) = match part {
                Part::Text(text) => ("text", text),
                Part::Thinking(text) => ("thinking", text),
                Part::Call { .. } if self.has_called && !self.is_parallel => continue,
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

impl Format for Reply {
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
            Piece::Text { text, .. } => {
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

#[cfg(test)]
mod tests {
    use engine::Timings;

    use super::*;

    const ANSWER: &str =
        "<think>Hm.</think>\nI look.\n<tool_call>{\"name\": \"read\", \"arguments\": {\"path\": \"a\"}}</tool_call>";

    fn generation(text: &str) -> Generation {
        Generation {
            text: text.to_owned(),
            hidden: Vec::new(),
            tokens: vec![1, 2, 3],
            logprobs: Vec::new(),
            prompt_tokens: 9,
            cached_tokens: 4,
            finish_reason: FinishReason::Stop,
            stop_text: None,
            timings: Timings::default(),
            prefill_reads: Default::default(),
            decode_reads: Default::default(),
        }
    }

    fn reply(shows_thinking: bool) -> Reply {
        Reply { n_prompt: 9, shows_thinking, ..Reply::new(Splitter::new(true, false, true), None) }
    }

    /// The events of an answer, without pings, and without what is chosen at random.
    fn events(mut reply: Reply, pieces: Vec<Piece>) -> Vec<Value> {
        let mut text = reply.begin();
        pieces.into_iter().for_each(|piece| text += &reply.piece(0, piece));
        text += &reply.end();
        let event = |event: &str| {
            let (name, data) = event.split_once('\n').expect("an event has two lines");
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
            assert_eq!(name, format!("event: {}", data["type"].as_str().expect("a type")));
            data
        };
        text.split_terminator("\n\n").map(event).filter(|event| event["type"] != "ping").collect()
    }

    fn streamed(reply: Reply, generation: Generation) -> Vec<Value> {
        let token = |c: char| Piece::Text { text: c.to_string(), logprobs: None, is_token: true };
        let pieces = generation.text.chars().map(token).collect::<Vec<_>>();
        events(reply, pieces.into_iter().chain([Piece::Done(Box::new(generation))]).collect())
    }

    /// The message that a client puts together from events.
    fn put_together(events: &[Value]) -> Value {
        let mut message = events[0]["message"].clone();
        let mut json_text = String::new();
        for event in &events[1..] {
            let index = event["index"].as_u64().unwrap_or(0) as usize;
            match event["type"].as_str().expect("a type") {
                "content_block_start" => {
                    let content = message["content"].as_array_mut().expect("content");
                    assert_eq!(content.len(), index);
                    content.push(event["content_block"].clone());
                    json_text.clear();
                }
                "content_block_delta" => {
                    let delta = event["delta"].as_object().expect("a delta");
                    let (name, more) = delta.iter().find(|(name, _)| *name != "type").expect("something more");
                    let more = more.as_str().expect("a text");
                    if name == "partial_json" {
                        json_text += more;
                        continue;
                    }
                    let field = &mut message["content"][index][name];
                    *field = json!(field.as_str().expect("it began").to_owned() + more);
                }
                "content_block_stop" if !json_text.is_empty() => {
                    message["content"][index]["input"] = serde_json::from_str(&json_text).expect("whole JSON");
                }
                "message_delta" => {
                    message["stop_reason"] = event["delta"]["stop_reason"].clone();
                    message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                    message["usage"] = event["usage"].clone();
                }
                "content_block_stop" | "message_stop" => {}
                other => panic!("an event {other}"),
            }
        }
        message
    }

    fn without_ids(mut message: Value) -> Value {
        message["id"] = json!("");
        for block in message["content"].as_array_mut().expect("content") {
            for name in ["id", "signature"] {
                if block.get(name).is_some() {
                    assert!(!block[name].as_str().expect("a text").is_empty());
                    block[name] = json!("");
                }
            }
        }
        message
    }

    #[test]
    fn events_add_up_to_the_message() {
        let stopped = Generation { stop_text: Some("END".to_owned()), ..generation("some text") };
        let cut = Generation { finish_reason: FinishReason::Length, ..generation("<think>so long") };
        let cases = [
            (generation(ANSWER), "tool_use", 3),
            (stopped, "stop_sequence", 1),
            (cut, "max_tokens", 1),
            (generation(""), "end_turn", 0),
        ];
        for (generation, reason, n_blocks) in cases {
            let whole = without_ids(reply(true).whole(&generation));
            assert_eq!((&whole["stop_reason"], whole["content"].as_array().unwrap().len()), (&json!(reason), n_blocks));
            assert_eq!(whole["stop_sequence"], json!(generation.stop_text));
            assert_eq!(without_ids(put_together(&streamed(reply(true), generation))), whole);
        }
    }

    #[test]
    fn thoughts_that_nobody_asked_for_are_left_out() {
        let whole = without_ids(reply(false).whole(&generation(ANSWER)));
        assert_eq!(whole["content"][0]["type"], "text");
        assert_eq!(without_ids(put_together(&streamed(reply(false), generation(ANSWER)))), whole);
    }

    #[test]
    fn only_one_call_is_made_if_no_more_is_wanted() {
        let twice = generation(&ANSWER[ANSWER.find("<tool_call>").expect("a call")..].repeat(2));
        for (is_parallel, n) in [(true, 2), (false, 1)] {
            let reply = || Reply { is_parallel, ..reply(true) };
            let whole = without_ids(reply().whole(&twice));
            assert_eq!(whole["content"].as_array().map(Vec::len), Some(n));
            assert_eq!(without_ids(put_together(&streamed(reply(), twice.clone()))), whole);
        }
    }

    #[test]
    fn events_come_in_the_order_of_the_api() {
        let events = streamed(reply(true), generation(ANSWER));
        let mut kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        kinds.dedup();
        let block = ["content_block_start", "content_block_delta", "content_block_stop"];
        let expected = [&["message_start"][..], &block, &block, &block, &["message_delta", "message_stop"]].concat();
        assert_eq!(kinds, expected);
        assert_eq!(events[0]["message"]["usage"]["input_tokens"], 9);
        let usage = &events[events.len() - 2]["usage"];
        assert_eq!(
            *usage,
            json!({ "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 3 })
        );
    }

    #[test]
    fn what_fails_on_the_way_is_an_error_event() {
        let failure = crate::failure::Failure::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "gone");
        let events = events(reply(true), vec![Piece::Failed(failure)]);
        let last = events.last().expect("there are events");
        assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    }
}
