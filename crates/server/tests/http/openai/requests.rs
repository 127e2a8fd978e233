//! Requests that the tests share, and how streams are put together.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::Running;

/// A server for all tests that need no other context.
pub(super) static SERVER: LazyLock<Running> = LazyLock::new(|| Running::start("llama context=512 template=chatml"));

/// Answers that do not end before their limit: the tokens that would end them are never chosen.
pub(super) fn endless() -> Value {
    json!({ "logit_bias": { "272": -100, "274": -100 } })
}

/// `object` with more fields.
pub(super) fn with(object: &Value, more: &Value) -> Value {
    let mut all = object.clone();
    let fields = all.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    all
}

/// What the chunks say for one answer, joined.
pub(super) fn joined(chunks: &[Value], index: usize, pointer: &str) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].as_array()).flatten();
    choices.filter(|choice| choice["index"] == index).filter_map(|c| c.pointer(pointer)?.as_str()).collect()
}

/// What the chunks list for one answer, put together.
pub(super) fn listed(chunks: &[Value], index: usize, pointer: &str) -> Value {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].as_array()).flatten();
    let of_it = choices.filter(|choice| choice["index"] == index);
    of_it.filter_map(|choice| choice.pointer(pointer)?.as_array()).flatten().cloned().collect()
}

pub(super) fn chat() -> Value {
    json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 12, "seed": 7 })
}
