//! The `input` of a request: a text or the items of a conversation, converted to messages for the template.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::body::read_part;
use crate::failure::Failure;
use crate::prompt::{message, text_of, tool_call};

/// A text, or what was said and done before.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "it must be a string or an array of items")]
#[schema(as = openai::ResponsesInput)]
pub(super) enum ResponsesInput {
    Text(String),
    /// Each is read as an [`Item`].
    #[schema(value_type = Vec<Item>)]
    Items(Vec<Value>),
}

/// An item; which fields it has is a matter of its type, and one without a type is a message.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Item)]
pub(super) struct Item {
    r#type: Option<String>,
    role: Option<String>,
    #[serde(default)]
    content: Value,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    #[serde(default)]
    output: Value,
    #[serde(default)]
    summary: Value,
}

impl ResponsesInput {
    /// The conversation's messages, with `instructions` as the first.
    ///
    /// Errors: an item is of a type that only OpenAI's own servers know, or is not complete.
    pub(super) fn messages(self, instructions: Option<&str>) -> Result<Vec<Value>, Failure> {
        let mut messages = Vec::new();
        if let Some(instructions) = instructions.filter(|text| !text.is_empty()) {
            messages.push(json!({ "role": "system", "content": instructions }));
        }
        let items = match self {
            ResponsesInput::Text(text) => vec![json!({ "role": "user", "content": text })],
            ResponsesInput::Items(items) => items,
        };
        if items.is_empty() {
            return Err(wrong("input is empty: send a text or one item at least"));
        }
        for (index, item) in items.iter().enumerate() {
            let item: Item = read_part(&format!("input[{index}]"), item).map_err(wrong)?;
            item.add(&mut messages)?;
        }
        merge_system(&mut messages);
        // Thoughts without an answer were cut short.
        messages.retain(|message| message["role"] != THOUGHTS);
        Ok(messages)
    }
}

/// The role, for a while, of thoughts that belong to the message behind them.
const THOUGHTS: &str = "thoughts";

impl Item {
    fn add(self, messages: &mut Vec<Value>) -> Result<(), Failure> {
        match self.r#type.as_deref() {
            None | Some("message") => {
                let role = self.role.as_deref().unwrap_or("");
                if !["system", "developer", "user", "assistant"].contains(&role) {
                    let message = format!("{role:?} is no role of a message: use system, developer, user or assistant");
                    return Err(wrong(message));
                }
                let message = Value::Object(message(role, &self.content).map_err(of_input)?);
                if role == "assistant" { add_to_turn(messages, message) } else { messages.push(message) }
            }
            Some("function_call") => {
                let name = self.name.ok_or_else(|| wrong("a function_call has no name"))?;
                let arguments = json!(self.arguments.unwrap_or_else(|| "{}".to_owned()));
                let call = tool_call(self.call_id.as_deref(), &name, &arguments);
                add_to_turn(messages, json!({ "role": "assistant", "content": "", "tool_calls": [call] }));
            }
            Some("function_call_output") => {
                let id = self.call_id.ok_or_else(|| wrong("a function_call_output has no call_id"))?;
                let text = text_of(&self.output).map_err(of_input)?;
                messages.push(json!({ "role": "tool", "content": text, "tool_call_id": id }));
            }
            Some("reasoning") => {
                let shown = if self.content.is_null() { &self.summary } else { &self.content };
                let text = text_of(shown).map_err(of_input)?;
                if !text.is_empty() {
                    messages.push(json!({ "role": THOUGHTS, "content": text }));
                }
            }
            Some("item_reference") => {
                return Err(wrong("item_reference is not supported: this server keeps no responses"));
            }
            Some(kind) => return Err(wrong(format!("items of the type {kind:?} are not supported"))),
        }
        Ok(())
    }
}

/// Adds what the assistant has said, called or thought to its turn, which templates want in one message.
fn add_to_turn(messages: &mut Vec<Value>, mut new: Value) {
    let is_thoughts = |message: &mut Value| message["role"] == THOUGHTS;
    if let Some(thoughts) = messages.pop_if(is_thoughts) {
        new["reasoning_content"] = thoughts["content"].clone();
    }
    let Some(last) = messages.last_mut().filter(|last| last["role"] == "assistant" && new.get("tool_calls").is_some())
    else {
        return messages.push(new);
    };
    let calls = [&last["tool_calls"], &new["tool_calls"]].into_iter().filter_map(Value::as_array).flatten();
    last["tool_calls"] = calls.cloned().collect();
    if last.get("reasoning_content").is_none()
        && let Some(thoughts) = new.get("reasoning_content")
    {
        last["reasoning_content"] = thoughts.clone();
    }
}

/// Makes one message of those of the system at the beginning: many templates take no more.
fn merge_system(messages: &mut Vec<Value>) {
    let n = messages.iter().take_while(|message| message["role"] == "system").count();
    if n > 1 {
        let texts: Vec<_> = messages.drain(..n).map(|m| m["content"].as_str().unwrap_or("").to_owned()).collect();
        messages.insert(0, json!({ "role": "system", "content": texts.join("\n\n") }));
    }
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::bad_field("input", message)
}

fn of_input(failure: Failure) -> Failure {
    Failure { param: Some("input".into()), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(input: Value) -> Result<Vec<Value>, Failure> {
        serde_json::from_value::<ResponsesInput>(input).unwrap().messages(Some("Be brief."))
    }

    #[test]
    fn items_become_turns() {
        let items = json!([
            { "role": "developer", "content": "Be kind." },
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "Weather?" }] },
            { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "Hm." }] },
            { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I look." }] },
            { "type": "function_call", "call_id": "1", "name": "weather", "arguments": "{\"city\":\"Oslo\"}" },
            { "type": "function_call", "call_id": "2", "name": "time", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "1", "output": "rain" },
            { "type": "function_call_output", "call_id": "2", "output": [{ "type": "input_text", "text": "noon" }] },
            { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "So." }] },
        ]);
        let call = |id, name, arguments| tool_call(Some(id), name, &arguments);
        let calls = [call("1", "weather", json!({ "city": "Oslo" })), call("2", "time", json!({}))];
        assert_eq!(
            messages(items).unwrap(),
            [
                json!({ "role": "system", "content": "Be brief.\n\nBe kind." }),
                json!({ "role": "user", "content": "Weather?" }),
                json!({ "role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": calls }),
                json!({ "role": "tool", "content": "rain", "tool_call_id": "1" }),
                json!({ "role": "tool", "content": "noon", "tool_call_id": "2" }),
            ]
        );
    }

    #[test]
    fn a_text_is_a_message_and_what_is_not_understood_is_refused() {
        let said = messages(json!("Hi")).unwrap();
        assert_eq!(said[1], json!({ "role": "user", "content": "Hi" }));
        for wrong in [
            json!([]),
            json!([{ "content": "x" }]),
            json!([1]),
            json!([{ "type": "function_call", "name": 5 }]),
            json!([{ "type": "item_reference", "id": "x" }]),
            json!([{ "type": "computer_call" }]),
            json!([{ "type": "function_call_output", "output": "x" }]),
            json!([{ "role": "user", "content": [{ "type": "input_image", "image_url": "x" }] }]),
        ] {
            assert_eq!(messages(wrong.clone()).unwrap_err().param.as_deref(), Some("input"), "{wrong}");
        }
    }
}
