//! Converts Anthropic's blocks to messages for chat templates.
//!
//! Consecutive turns of the same role are merged, and tool results become separate messages. Content that no model here can
//! read is an error, except inside a tool result, where it is replaced by a note, since the agent that sent it cannot fix it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::request::{Block, Content, Message, MessagesBody, Role, Source, Thinking, Tool, ToolChoice};
use crate::app::App;
use crate::body::read_part;
use crate::failure::Failure;
use crate::prompt::{Conversation, message, tool_call};
use crate::structured::Shape;
use crate::tools::left_out;

/// A line that Claude Code puts first in its system text; it changes from request to request, which would make every prompt a
/// new one.
const BILLING: &str = "x-anthropic-billing-header:";

/// The conversation of a request.
///
/// Errors: there is none, there is something in it that no model here can see, or a tool is missing.
pub(super) fn conversation(app: &App, body: &MessagesBody) -> Result<Conversation, Failure> {
    // Who does not ask for thoughts expects none, and an answer that must be a call or JSON begins with it.
    let is_json = shape(body)?.is_some();
    let is_free = !is_json && choice(body.tool_choice.as_ref()) == engine::ToolChoice::Auto;
    let thinks = body.thinking.as_ref().is_some_and(|thinking| *thinking != Thinking::Disabled {}) && is_free;
    let thinking = app.facts.has_thinking().then_some(thinks);
    let mut tools = tools(body)?;
    if is_json {
        tools.clear();
    }
    Ok(Conversation { messages: messages(body)?, tools, thinking })
}

/// The shape of the answer's text, if it has to have one; where a call has to be made, that comes first.
///
/// Errors: it is said in a way that is not known.
pub(super) fn shape(body: &MessagesBody) -> Result<Option<Shape>, Failure> {
    let format = body.output_config.as_ref().and_then(|config| config.format.as_ref());
    let shape = match format {
        Some(_) => Shape::of_openai(format, "output_config.format"),
        None => Shape::of_openai(body.output_format.as_ref(), "output_format"),
    };
    Ok(shape?.filter(|_| choice(body.tool_choice.as_ref()) == engine::ToolChoice::Auto))
}

/// Which tools have to be called.
pub(super) fn choice(wanted: Option<&ToolChoice>) -> engine::ToolChoice {
    match wanted {
        None | Some(ToolChoice::Auto { .. } | ToolChoice::None {}) => engine::ToolChoice::Auto,
        Some(ToolChoice::Any { .. }) => engine::ToolChoice::Required,
        Some(ToolChoice::Tool { name, .. }) => engine::ToolChoice::Named(name.clone()),
    }
}

/// The messages, as templates know them, with the system's first.
fn messages(body: &MessagesBody) -> Result<Vec<Value>, Failure> {
    if body.messages.is_empty() {
        return Err(wrong("messages: at least one message is required".to_owned()));
    }
    let mut turns = Turns::default();
    if let Some(system) = &body.system {
        let text = system_text(system)?;
        if !text.is_empty() {
            turns.say("system", &text)?;
        }
    }
    for (index, message) in body.messages.iter().enumerate() {
        turns.add(&format!("messages.{index}.content"), message)?;
    }
    Ok(turns.messages)
}

/// The tools that a model may call, as templates know them.
///
/// Errors: one has no name, or the one that must be called is not among them.
fn tools(body: &MessagesBody) -> Result<Vec<Value>, Failure> {
    let given = body.tools.as_deref().unwrap_or_default();
    let mut tools = Vec::new();
    for tool in given {
        if let Some(kind) = tool.kind.as_deref().filter(|kind| *kind != "custom") {
            left_out(kind);
            continue;
        }
        if tool.name.is_empty() {
            return Err(Failure::bad_field("tools", "tools: a tool has no name"));
        }
        tools.push(tool);
    }
    match &body.tool_choice {
        Some(ToolChoice::None {}) => tools.clear(),
        Some(ToolChoice::Tool { name, .. }) => {
            tools.retain(|tool| tool.name == *name);
            if tools.is_empty() {
                return Err(Failure::bad_field("tool_choice", format!("tool_choice: there is no tool '{name}'")));
            }
        }
        Some(ToolChoice::Any { .. }) if tools.is_empty() => {
            return Err(Failure::bad_field("tool_choice", "tool_choice: there is no tool that could be called"));
        }
        Some(ToolChoice::Any { .. } | ToolChoice::Auto { .. }) | None => {}
    }
    Ok(tools.into_iter().map(function).collect())
}

fn function(tool: &Tool) -> Value {
    let nothing = || json!({ "type": "object", "properties": {} });
    let function = json!({
        "name": tool.name,
        "description": tool.description.as_deref().unwrap_or(""),
        "parameters": tool.input_schema.clone().unwrap_or_else(nothing),
    });
    json!({ "type": "function", "function": function })
}

fn system_text(system: &Content) -> Result<String, Failure> {
    let mut texts = Vec::new();
    for block in blocks("system", system)? {
        match block {
            Block::Text { text } => texts.push(without_billing(text)),
            _ => return Err(Failure::bad_field("system", "system: only text is known here")),
        }
    }
    texts.retain(|text| !text.is_empty());
    Ok(texts.join("\n"))
}

fn without_billing(text: String) -> String {
    match text.starts_with(BILLING) {
        true => text.split_once('\n').map_or_else(String::new, |(_, rest)| rest.to_owned()),
        false => text,
    }
}

/// The blocks of a content that is at `place` of the request.
fn blocks(place: &str, content: &Content) -> Result<Vec<Block>, Failure> {
    match content {
        Content::Text(text) => Ok(vec![Block::Text { text: text.clone() }]),
        Content::Blocks(blocks) => {
            let read = |(index, block)| read_part(&format!("{place}.{index}"), block).map_err(wrong);
            blocks.iter().enumerate().map(read).collect()
        }
    }
}

fn wrong(message: String) -> Failure {
    Failure::bad_field("messages", message)
}

/// Messages as they come together.
#[derive(Default)]
struct Turns {
    messages: Vec<Value>,
    /// Names of the tools that were called, by the calls' ids.
    called: HashMap<String, String>,
}

impl Turns {
    fn add(&mut self, place: &str, given: &Message) -> Result<(), Failure> {
        let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for (index, block) in blocks(place, &given.content)?.into_iter().enumerate() {
            let place = format!("{place}.{index}");
            match (block, given.role) {
                (Block::Thinking { thinking }, Role::Assistant) => thoughts.push(thinking),
                (Block::RedactedThinking {}, Role::Assistant) => {}
                (Block::ToolUse { id, name, input }, Role::Assistant) => {
                    calls.push(tool_call(Some(&id), &name, &input));
                    self.called.insert(id, name);
                }
                (Block::ToolResult { tool_use_id, content, is_error }, Role::User) => {
                    self.say_all("user", &mut texts)?;
                    self.result(&place, tool_use_id, content.as_ref(), is_error == Some(true))?;
                }
                (block, _) => texts.push(text(&place, block)?),
            }
        }
        match given.role {
            Role::User => self.say_all("user", &mut texts),
            Role::System => self.say_all("system", &mut texts),
            Role::Assistant => self.assistant(&texts.join("\n"), &thoughts.join("\n"), calls),
        }
    }

    fn say_all(&mut self, role: &str, texts: &mut Vec<String>) -> Result<(), Failure> {
        if texts.is_empty() {
            return Ok(());
        }
        self.say(role, &std::mem::take(texts).join("\n"))
    }

    /// Adds a text, to the last message if it has the same role.
    fn say(&mut self, role: &str, text: &str) -> Result<(), Failure> {
        match self.messages.last_mut() {
            Some(last) if last["role"] == role && last.get("tool_calls").is_none() => {
                let before = last["content"].as_str().unwrap_or("");
                let between = if before.is_empty() { "" } else { "\n" };
                last["content"] = json!(format!("{before}{between}{text}"));
            }
            _ => self.messages.push(Value::Object(message(role, &json!(text))?)),
        }
        Ok(())
    }

    fn assistant(&mut self, text: &str, thoughts: &str, calls: Vec<Value>) -> Result<(), Failure> {
        if text.is_empty() && calls.is_empty() {
            return Ok(());
        }
        self.say("assistant", text)?;
        let last = self.messages.last_mut().and_then(Value::as_object_mut);
        let more = [
            ("reasoning_content", (!thoughts.is_empty()).then(|| json!(thoughts))),
            ("tool_calls", (!calls.is_empty()).then_some(Value::Array(calls))),
        ];
        let more: Map<_, _> = more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        last.expect("it was just there").extend(more);
        Ok(())
    }

    /// Adds what a tool has given.
    fn result(&mut self, place: &str, id: String, content: Option<&Content>, is_error: bool) -> Result<(), Failure> {
        let mut texts = Vec::new();
        match content {
            None => {}
            Some(Content::Text(text)) => texts.push(text.clone()),
            Some(Content::Blocks(blocks)) => {
                for (index, given) in blocks.iter().enumerate() {
                    let block = Block::deserialize(given).map_err(|error| error.to_string());
                    let shown = block.map(|block| text(&format!("{place}.content.{index}"), block));
                    texts.push(match shown {
                        Ok(Ok(text)) => text,
                        _ => format!(
                            "[{} left out: this model takes text only]",
                            given["type"].as_str().unwrap_or("content")
                        ),
                    });
                }
            }
        }
        let mut text = texts.join("\n");
        if is_error {
            text.insert_str(0, "Error: ");
        }
        let mut message = message("tool", &json!(text))?;
        if let Some(name) = self.called.get(&id) {
            message.insert("name".to_owned(), json!(name));
        }
        message.insert("tool_call_id".to_owned(), json!(id));
        self.messages.push(Value::Object(message));
        Ok(())
    }
}

/// The text of a block.
///
/// Errors: it has none, or should be elsewhere.
fn text(place: &str, block: Block) -> Result<String, Failure> {
    match block {
        Block::Text { text } => Ok(text),
        Block::Document { source, title, context } => {
            let body = match source {
                Source::Text { data } => data,
                Source::Content { content } => joined(&format!("{place}.source.content"), &content)?,
                Source::Base64 {} | Source::Url {} | Source::File {} => {
                    return Err(wrong(format!("{place}: this model takes text only: send the document as plain text")));
                }
            };
            Ok(title.into_iter().chain(context).chain([body]).collect::<Vec<_>>().join("\n"))
        }
        Block::SearchResult { source, title, content } => {
            let body = joined(&format!("{place}.content"), &Content::Blocks(content))?;
            Ok(format!("{title} ({source})\n{body}"))
        }
        Block::Image {} => Err(wrong(format!("{place}: this model takes text only, and the content has an image"))),
        Block::Thinking { .. } | Block::RedactedThinking {} | Block::ToolUse { .. } => {
            Err(wrong(format!("{place}: only the assistant can say this")))
        }
        Block::ToolResult { .. } => Err(wrong(format!("{place}: only the user can say this"))),
    }
}

fn joined(place: &str, content: &Content) -> Result<String, Failure> {
    let texts = blocks(place, content)?.into_iter().map(|block| text(place, block));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: Value) -> Result<Value, String> {
        let body = MessagesBody::deserialize(body).expect("it has the form of a request");
        messages(&body).map(Value::Array).map_err(|failure| failure.message)
    }

    #[test]
    fn an_agents_turns_become_messages() {
        let body = json!({
            "system": [
                { "type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=1f;" },
                { "type": "text", "text": "You are a coder.", "cache_control": { "type": "ephemeral" } },
                { "type": "text", "text": "Be brief." },
            ],
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "Look" }, { "type": "text", "text": "here." }] },
                { "role": "user", "content": "Now." },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "Hm.", "signature": "sig" },
                    { "type": "redacted_thinking", "data": "x" },
                    { "type": "text", "text": "I read it." },
                    { "type": "tool_use", "id": "toolu_1", "name": "Read", "input": { "path": "a" } },
                    { "type": "tool_use", "id": "toolu_2", "name": "Shot", "input": {} },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "toolu_1", "content": "no such file", "is_error": true },
                    { "type": "tool_result", "tool_use_id": "toolu_2", "content": [
                        { "type": "text", "text": "a picture" },
                        { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "" } },
                    ] },
                    { "type": "text", "text": "Go on." },
                ] },
                { "role": "assistant", "content": "" },
            ],
        });
        let call = |id: &str, name: &str, arguments: Value| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
        let note = "a picture\n[image left out: this model takes text only]";
        let calls = [call("toolu_1", "Read", json!({ "path": "a" })), call("toolu_2", "Shot", json!({}))];
        let expected = json!([
            { "role": "system", "content": "You are a coder.\nBe brief." },
            { "role": "user", "content": "Look\nhere.\nNow." },
            { "role": "assistant", "content": "I read it.", "reasoning_content": "Hm.", "tool_calls": calls },
            { "role": "tool", "content": "Error: no such file", "name": "Read", "tool_call_id": "toolu_1" },
            { "role": "tool", "content": note, "name": "Shot", "tool_call_id": "toolu_2" },
            { "role": "user", "content": "Go on." },
        ]);
        assert_eq!(of(body), Ok(expected));
    }

    #[test]
    fn the_prompt_is_the_same_whatever_the_billing_header_says() {
        let with = |line: &str| {
            of(
                json!({ "system": format!("{line}\nYou are a coder."), "messages": [{ "role": "user", "content": "Hi" }] }),
            )
        };
        assert_eq!(with("x-anthropic-billing-header: a"), with("x-anthropic-billing-header: b; c"));
        assert_ne!(with("x-anthropic-billing-header: a"), with("another line"));
    }

    #[test]
    fn documents_are_text_and_what_cannot_be_seen_is_refused_with_its_place() {
        let says = |block: Value| of(json!({ "messages": [{ "role": "user", "content": [block] }] }));
        let document = json!({ "type": "document", "title": "T", "source": { "type": "text", "media_type": "text/plain", "data": "body" } });
        assert_eq!(says(document), Ok(json!([{ "role": "user", "content": "T\nbody" }])));
        let pdf =
            json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "" } });
        let image = json!({ "type": "image", "source": { "type": "url", "url": "http://x" } });
        let call = json!({ "type": "tool_use", "id": "a", "name": "b", "input": {} });
        for (block, words) in
            [(pdf, "plain text"), (image, "an image"), (call, "assistant"), (json!({ "type": "x" }), "x")]
        {
            let message = says(block.clone()).expect_err("it is refused");
            assert!(message.starts_with("messages.0.content.0") && message.contains(words), "{block}: {message}");
        }
        assert!(of(json!({ "messages": [] })).is_err());
    }

    #[test]
    fn tools_are_functions_and_a_choice_leaves_some_out() {
        let of = |choice: Value| {
            let body = json!({ "tool_choice": choice, "tools": [
                { "name": "read", "description": "Reads.", "input_schema": { "type": "object" } },
                { "type": "custom", "name": "list" },
                { "type": "web_search_20250305", "name": "web_search" },
            ] });
            let tools = tools(&MessagesBody::deserialize(body).expect("it has the form of a request"));
            tools.map(|tools| {
                tools.iter().map(|t| t["function"]["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
            })
        };
        let named = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(of(Value::Null).unwrap(), named(&["read", "list"]));
        assert_eq!(of(json!({ "type": "any" })).unwrap(), named(&["read", "list"]));
        assert_eq!(of(json!({ "type": "tool", "name": "list" })).unwrap(), named(&["list"]));
        assert_eq!(of(json!({ "type": "none" })).unwrap(), named(&[]));
        assert!(of(json!({ "type": "tool", "name": "web_search" })).is_err());
    }
}
