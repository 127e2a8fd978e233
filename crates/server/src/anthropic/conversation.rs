//! From Anthropic's blocks to messages as chat templates know them.
//!
//! Turns of the same role become one, results of tools become messages of their own, and what no model here can see is refused,
//! or, within a tool's result, where the agent that sent it can do nothing about it, replaced by a note.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::request::{Block, Content, Message, MessagesBody, Role, Source, Thinking, Tool, ToolChoice};
use crate::app::App;
use crate::failure::Failure;
use crate::prompt::{Conversation, message, tool_call};

/// A line that Claude Code puts first in its system text; it changes from request to request, which would make every prompt a
/// new one.
const BILLING: &str = "x-anthropic-billing-header:";

/// The conversation of a request.
///
/// Errors: there is none, there is something in it that no model here can see, or the model cannot call tools.
pub(super) fn conversation(app: &App, body: &MessagesBody) -> Result<Conversation, Failure> {
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
    let tools = tools(body)?;
    if !tools.is_empty() && !app.facts.has_tools() {
        return Err(Failure::bad_field("tools", format!("{} does not support tools", app.facts.name)));
    }
    // Who does not ask for thoughts expects none.
    let thinks = body.thinking.as_ref().is_some_and(|thinking| *thinking != Thinking::Disabled {});
    let thinking = app.facts.has_thinking().then_some(thinks);
    Ok(Conversation { messages: turns.messages, tools, thinking })
}

/// The tools that a model may call, as templates know them.
///
/// Errors: one has no name, or the one that must be called is not among them.
fn tools(body: &MessagesBody) -> Result<Vec<Value>, Failure> {
    let given = body.tools.as_deref().unwrap_or_default();
    let mut tools = Vec::new();
    for tool in given.iter().filter(|tool| tool.kind.as_deref().is_none_or(|kind| kind == "custom")) {
        if tool.name.is_empty() {
            return Err(Failure::bad_field("tools", "tools: a tool has no name"));
        }
        tools.push(tool);
    }
    match &body.tool_choice {
        Some(ToolChoice::None {}) => tools.clear(),
        Some(ToolChoice::Tool { name }) => {
            tools.retain(|tool| tool.name == *name);
            if tools.is_empty() {
                return Err(Failure::bad_field("tool_choice", format!("tool_choice: there is no tool '{name}'")));
            }
        }
        Some(ToolChoice::Any {}) if tools.is_empty() => {
            return Err(Failure::bad_field("tool_choice", "tool_choice: there is no tool that could be called"));
        }
        Some(ToolChoice::Any {} | ToolChoice::Auto {}) | None => {}
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
            let read = |(index, block): (usize, &Value)| {
                Block::deserialize(block).map_err(|error| wrong(format!("{place}.{index}: {error}")))
            };
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
