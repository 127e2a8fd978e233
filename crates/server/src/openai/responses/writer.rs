//! Writes a response: its items, and the events that stream them.
//!
//! An item is open until one of another kind starts. The complete response is built from the same events.

use std::sync::Arc;

use engine::{FinishReason, Generation, StepLogprobs};
use model::Tokenizer;
use serde_json::{Map, Value, json};

use super::super::logprobs::Entry;
use super::super::reply::{IDLE, new_id, now};
use crate::answer::Piece;
use crate::failure::Failure;
use crate::hold::Hold;
use crate::parts::{Part, Splitter};
use crate::stream::Format;

/// The status of what has come to its end.
const COMPLETED: &str = "completed";

/// How an answer is taken apart.
pub(super) struct PartsOptions {
    pub(super) splitter: Splitter,
    pub(super) is_parallel: bool,
    pub(super) shows_logprobs: bool,
    pub(super) tokenizer: Arc<Tokenizer>,
}

/// Writes a response.
pub(super) struct ResponseWriter {
    /// As it is so far; its output has the items that are complete.
    response: Value,
    parts: PartsOptions,
    open: Option<Open>,
    n_events: usize,
    n_calls: usize,
    /// Of tokens whose text has not been shown.
    logprobs: Vec<Entry>,
    _guard: Option<Hold>,
}

/// An item that is not complete.
struct Open {
    kind: ItemKind,
    id: String,
    text: String,
    logprobs: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemKind {
    Message,
    Reasoning,
}

impl ItemKind {
    /// The beginning of the names of the events about its text.
    fn text_event(self) -> &'static str {
        match self {
            ItemKind::Message => "response.output_text",
            ItemKind::Reasoning => "response.reasoning_text",
        }
    }
}

impl Open {
    /// The item's one part.
    fn part(&self) -> Value {
        match self.kind {
            ItemKind::Message => {
                json!({ "type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs })
            }
            ItemKind::Reasoning => json!({ "type": "reasoning_text", "text": self.text }),
        }
    }

    fn item(&self, status: &str, content: Value) -> Value {
        match self.kind {
            ItemKind::Message => {
                json!({ "id": self.id, "type": "message", "status": status, "role": "assistant", "content": content })
            }
            ItemKind::Reasoning => {
                json!({ "id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content })
            }
        }
    }
}

impl ResponseWriter {
    pub(super) fn new(response: Value, parts: PartsOptions, guard: Option<Hold>) -> ResponseWriter {
        ResponseWriter { response, parts, open: None, n_events: 0, n_calls: 0, logprobs: Vec::new(), _guard: guard }
    }

    /// The response of an answer that is there as a whole.
    pub(super) fn whole(mut self, generation: &Generation) -> Value {
        generation.logprobs.iter().for_each(|step| self.add_logprobs(Some(step)));
        let parts = self.parts.splitter.push(&generation.text);
        self.show(parts);
        self.finish(generation);
        self.response
    }

    fn add_logprobs(&mut self, step: Option<&StepLogprobs>) {
        let step = step.filter(|_| self.parts.shows_logprobs);
        self.logprobs.extend(step.map(|step| Entry::new(&self.parts.tokenizer, step)));
    }

    fn event(&mut self, kind: &str, fields: Value) -> String {
        let Value::Object(fields) = fields else { unreachable!("events have fields") };
        let number = self.n_events;
        self.n_events += 1;
        let mut event =
            Map::from_iter([("type".to_owned(), json!(kind)), ("sequence_number".to_owned(), json!(number))]);
        event.extend(fields);
        format!("event: {kind}\ndata: {}\n\n", Value::Object(event))
    }

    fn response_event(&mut self, kind: &str) -> String {
        let response = self.response.clone();
        self.event(kind, json!({ "response": response }))
    }

    fn output(&mut self) -> &mut Vec<Value> {
        self.response["output"].as_array_mut().expect("a response has a list of items")
    }

    fn show(&mut self, parts: Vec<Part>) -> String {
        let mut events = String::new();
        for part in parts {
            events += &match part {
                Part::Text(text) => self.text(ItemKind::Message, &text),
                Part::Thinking(text) => self.text(ItemKind::Reasoning, &text),
                Part::Call { name, arguments } => self.call(&name, &arguments.to_string()),
            };
        }
        events
    }

    /// More of an item's text; of a new item, if none of this kind is open.
    fn text(&mut self, kind: ItemKind, text: &str) -> String {
        let mut events = String::new();
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            events += &self.close(COMPLETED);
            events += &self.begin_item(kind);
        }
        let logprobs = std::mem::take(&mut self.logprobs);
        let index = self.output().len();
        let open = self.open.as_mut().expect("it has just been opened");
        open.text += text;
        open.logprobs.extend_from_slice(&logprobs);
        let mut fields = json!({ "item_id": open.id, "output_index": index, "content_index": 0, "delta": text });
        if kind == ItemKind::Message {
            fields["logprobs"] = json!(logprobs);
        }
        events + &self.event(&format!("{}.delta", kind.text_event()), fields)
    }

    fn begin_item(&mut self, kind: ItemKind) -> String {
        let prefix = if kind == ItemKind::Message { "msg_" } else { "rs_" };
        let open = Open { kind, id: new_id(prefix), text: String::new(), logprobs: Vec::new() };
        let (id, index) = (open.id.clone(), self.output().len());
        let (item, part) = (open.item("in_progress", json!([])), open.part());
        self.open = Some(open);
        let added = self.event("response.output_item.added", json!({ "output_index": index, "item": item }));
        let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part });
        added + &self.event("response.content_part.added", fields)
    }

    /// Ends the item that is open, if one is.
    fn close(&mut self, status: &str) -> String {
        let Some(mut open) = self.open.take() else { return String::new() };
        // What remains belongs to tokens that show nothing.
        if open.kind == ItemKind::Message {
            open.logprobs.append(&mut self.logprobs);
        }
        let (id, index, part) = (&open.id, self.output().len(), open.part());
        let item = open.item(status, json!([part]));
        let mut fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "text": open.text });
        if open.kind == ItemKind::Message {
            fields["logprobs"] = json!(open.logprobs);
        }
        let text_done = self.event(&format!("{}.done", open.kind.text_event()), fields);
        let fields = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part });
        let part_done = self.event("response.content_part.done", fields);
        text_done + &part_done + &self.add_item(item)
    }

    /// Puts an item that has ended into the response.
    fn add_item(&mut self, item: Value) -> String {
        let index = self.output().len();
        self.output().push(item.clone());
        self.event("response.output_item.done", json!({ "output_index": index, "item": item }))
    }

    fn call(&mut self, name: &str, arguments: &str) -> String {
        self.n_calls += 1;
        if self.n_calls > 1 && !self.parts.is_parallel {
            return String::new();
        }
        let closed = self.close(COMPLETED);
        let (id, call_id, index) = (new_id("fc_"), new_id("call_"), self.output().len());
        let item = |status: &str, arguments: &str| json!({ "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments });
        let fields = json!({ "output_index": index, "item": item("in_progress", "") });
        let added = self.event("response.output_item.added", fields);
        let fields = json!({ "item_id": id, "output_index": index, "delta": arguments });
        let delta = self.event("response.function_call_arguments.delta", fields);
        let fields = json!({ "item_id": id, "output_index": index, "name": name, "arguments": arguments });
        let done = self.event("response.function_call_arguments.done", fields);
        closed + &added + &delta + &done + &self.add_item(item(COMPLETED, arguments))
    }

    /// Ends the response, which is complete unless a limit has cut it short.
    fn finish(&mut self, generation: &Generation) -> String {
        let is_cut = generation.finish_reason == FinishReason::Length;
        let status = if is_cut { "incomplete" } else { COMPLETED };
        let parts = self.parts.splitter.finish();
        let mut events = self.show(parts);
        events += &self.close(status);
        if self.output().iter().all(|item| item["type"] == "reasoning") {
            // An answer is a message, and be it empty.
            events += &self.begin_item(ItemKind::Message);
            events += &self.close(status);
        }
        let (input, output) = (generation.prompt_tokens, generation.tokens.len());
        self.response["usage"] = json!({
            "input_tokens": input,
            "input_tokens_details": { "cached_tokens": generation.cached_tokens },
            "output_tokens": output,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input + output,
        });
        self.response["status"] = json!(status);
        match is_cut {
            true => self.response["incomplete_details"] = json!({ "reason": "max_output_tokens" }),
            false => self.response["completed_at"] = json!(now()),
        }
        events + &self.response_event(&format!("response.{status}"))
    }

    fn fail(&mut self, failure: &Failure) -> String {
        self.response["status"] = json!("failed");
        self.response["error"] = json!({ "code": "server_error", "message": failure.message });
        self.response_event("response.failed")
    }
}

impl Format for ResponseWriter {
    fn begin(&mut self) -> String {
        self.response_event("response.created") + &self.response_event("response.in_progress")
    }

    fn piece(&mut self, _: usize, piece: Piece) -> String {
        match piece {
            Piece::Text { text, logprobs, .. } => {
                self.add_logprobs(logprobs.as_ref());
                let parts = self.parts.splitter.push(&text);
                self.show(parts)
            }
            Piece::Done(generation) => self.finish(&generation),
            Piece::Failed(failure) => self.fail(&failure),
        }
    }

    fn idle(&self) -> &'static str {
        IDLE
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{failure, generation, objects, played, tokenizer};
    use super::*;

    fn writer(has_tools: bool) -> ResponseWriter {
        let splitter = Splitter::new(true, false, has_tools);
        let parts = PartsOptions { splitter, is_parallel: true, shows_logprobs: false, tokenizer: tokenizer() };
        ResponseWriter::new(json!({ "id": "resp_1", "status": "in_progress", "output": [] }), parts, None)
    }

    /// An item without what is different every time.
    fn known(item: &Value) -> Value {
        let mut item = item.clone();
        let all = item.as_object_mut().expect("an item is an object");
        all.remove("id");
        all.remove("call_id");
        item
    }

    #[test]
    fn every_item_is_told_from_its_beginning_to_its_end() {
        let answer = "<think>Hm.</think>I look.<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
        let text = played(writer(true), answer, FinishReason::Stop);
        let events = objects(&text);
        let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
        kinds.dedup();
        let about_text = |name: &str| {
            let of_text = [format!("response.{name}.delta"), format!("response.{name}.done")];
            [
                "response.output_item.added",
                "response.content_part.added",
                &of_text[0],
                &of_text[1],
                "response.content_part.done",
                "response.output_item.done",
            ]
            .map(str::to_owned)
        };
        let call = [
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
        ];
        let expected = ["response.created", "response.in_progress"]
            .map(str::to_owned)
            .into_iter()
            .chain(about_text("reasoning_text"))
            .chain(about_text("output_text"))
            .chain(call.map(str::to_owned))
            .chain(["response.completed".to_owned()]);
        assert_eq!(kinds, expected.collect::<Vec<_>>());
        assert!((0..).zip(&events).all(|(number, event)| event["sequence_number"] == number));
        assert!(
            text.split("\n\n")
                .filter(|event| !event.is_empty())
                .zip(&kinds)
                .all(|(event, _)| event.starts_with("event: response."))
        );

        let last = &events.last().expect("there are events")["response"];
        let whole = writer(true).whole(&generation(answer, FinishReason::Stop));
        let items =
            |response: &Value| response["output"].as_array().map(|all| all.iter().map(known).collect::<Vec<_>>());
        assert_eq!(items(last), items(&whole));
        assert_eq!((&last["status"], &last["incomplete_details"]), (&json!("completed"), &Value::Null));
        for (index, item) in (0..).zip(last["output"].as_array().expect("a list")) {
            let of_item: Vec<&Value> = events.iter().filter(|event| event["output_index"] == index).collect();
            let ids = of_item.iter().map(|event| event.get("item_id").unwrap_or(&event["item"]["id"]));
            assert!(of_item.len() > 3 && ids.clone().all(|id| *id == item["id"]), "{item}");
        }
    }

    #[test]
    fn what_was_said_between_two_calls_is_a_message_of_its_own() {
        let call = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
        let whole = writer(true).whole(&generation(&format!("a{call}b{call}"), FinishReason::Stop));
        let kinds: Vec<_> = whole["output"].as_array().expect("a list").iter().map(|item| &item["type"]).collect();
        assert_eq!(kinds, ["message", "function_call", "message", "function_call"]);
    }

    #[test]
    fn there_is_a_message_even_if_it_is_empty_and_a_limit_is_told() {
        let whole = writer(false).whole(&generation("<think>a", FinishReason::Length));
        assert_eq!(whole["output"][0]["content"][0]["text"], "a");
        assert_eq!(whole["output"][1]["content"][0]["text"], "");
        assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(whole["status"], "incomplete");
        assert!(whole.get("completed_at").is_none());
    }

    #[test]
    fn what_a_limit_has_cut_is_incomplete_and_what_was_said_before_is_not() {
        let events = objects(&played(writer(true), "<think>Hm.</think>I lo", FinishReason::Length));
        let last = events.last().expect("there are events");
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"], json!({ "reason": "max_output_tokens" }));
        let items = last["response"]["output"].as_array().expect("a list");
        let statuses: Vec<_> = items.iter().map(|item| (&item["type"], &item["status"])).collect();
        assert_eq!(statuses, [(&json!("reasoning"), &json!("completed")), (&json!("message"), &json!("incomplete"))]);
        let call = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call><tool_call>{\"name\"";
        let whole = writer(true).whole(&generation(call, FinishReason::Length));
        assert_eq!((&whole["status"], &whole["output"][0]["status"]), (&json!("incomplete"), &json!("completed")));
    }

    #[test]
    fn what_fails_half_way_is_told_in_the_stream() {
        let events = objects(&writer(false).piece(0, failure()));
        assert_eq!(
            (&events[0]["type"], &events[0]["response"]["status"]),
            (&json!("response.failed"), &json!("failed"))
        );
    }
}
