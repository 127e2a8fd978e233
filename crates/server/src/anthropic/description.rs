//! The description of Anthropic's API in `/openapi.json`.

use serde_json::{Value, json};

use super::request::MessagesBody;
use crate::openapi::description::{Api, Description};
use crate::openapi::operation::{ENGINE, EVENTS, JSON, Operation};
use crate::openapi::schema::{any, count, either, list, map, nullable, object, only, reference, text, word};

fn error_schema() -> Value {
    let error = object(json!({ "type": text(), "message": text() }));
    object(json!({ "type": only("error"), "error": error, "request_id": text() }))
}

pub(crate) fn describe(all: &mut Description) {
    all.error(Api::Anthropic, "What is wrong.", error_schema());
    let body = all.request::<MessagesBody>();
    let messages = json!([{ "role": "user", "content": "Hello" }]);
    let usage = object(json!({
        "input_tokens": count(),
        "cache_creation_input_tokens": count(),
        "cache_read_input_tokens": count(),
        "output_tokens": count(),
    }));
    let usage = all.schema("anthropic.Usage", usage);
    let block = all.schema("anthropic.AnswerBlock", block());
    let reason = nullable(word(&["end_turn", "max_tokens", "stop_sequence", "tool_use"]));
    let message = object(json!({
        "id": text(),
        "type": only("message"),
        "role": only("assistant"),
        "model": text(),
        "content": list(block.clone()),
        "stop_reason": reason,
        "stop_sequence": nullable(text()),
        "usage": usage,
    }));
    let message = all.schema("anthropic.Answer", message);
    let event = all.schema("anthropic.Event", event(&message, block, reason, usage));
    let answer = Operation::new("Answers a conversation")
        .takes(body.clone(), json!({ "model": all.model, "max_tokens": 4, "messages": messages }))
        .gives(JSON, message)
        .gives(EVENTS, event)
        .fails(&ENGINE);
    all.add(Api::Anthropic, "post", "/v1/messages", answer);
    let count_tokens = Operation::new("How many tokens the prompt of a conversation has")
        .takes(body, json!({ "model": all.model, "messages": messages }))
        .gives(JSON, object(json!({ "input_tokens": count() })))
        .fails(&[400, 404, 500]);
    all.add(Api::Anthropic, "post", "/v1/messages/count_tokens", count_tokens);
}

/// A piece of an answer.
fn block() -> Value {
    either(&[
        object(json!({ "type": only("text"), "text": text() })),
        object(json!({ "type": only("thinking"), "thinking": text(), "signature": text() })),
        object(json!({ "type": only("tool_use"), "id": text(), "name": text(), "input": map(any()) })),
    ])
}

fn event(message: &Value, block: Value, reason: Value, usage: Value) -> Value {
    let one = |kind: &str, mut fields: Value| {
        fields["type"] = only(kind);
        object(fields)
    };
    let delta = either(&[
        one("text_delta", json!({ "text": text() })),
        one("thinking_delta", json!({ "thinking": text() })),
        one("signature_delta", json!({ "signature": text() })),
        one("input_json_delta", json!({ "partial_json": text() })),
    ]);
    let end = object(json!({ "stop_reason": reason, "stop_sequence": nullable(text()) }));
    either(&[
        one("message_start", json!({ "message": message })),
        one("content_block_start", json!({ "index": count(), "content_block": block })),
        one("ping", json!({})),
        one("content_block_delta", json!({ "index": count(), "delta": delta })),
        one("content_block_stop", json!({ "index": count() })),
        one("message_delta", json!({ "delta": end, "usage": usage })),
        one("message_stop", json!({})),
        reference("anthropic.Error"),
    ])
}
