//! Tool calls: the format in which a model writes them, and grammars that restrict it to the defined tools.
//!
//! A call is a JSON object with a tool's name and arguments that the tool's schema accepts, in the marks that the model
//! was trained to put around it. Keywords that are not supported are left out of tools' schemas instead of refused: a
//! client often has no say in them, and most of a schema is better than none.

use std::fmt::Write;

use llguidance::toktrie::TokTrie;
use model::TokenId;
use serde_json::{Value, json};

use crate::constraint::json_schema::{Unsupported, add_options, complete, move_references};
use crate::error::EngineError;

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments, an object; null for none.
    pub parameters: Value,
}

/// Which tools have to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// Text, calls or both, as the model likes. What begins as a call ends as one.
    Auto,
    /// Calls, at least one, and no text.
    Required,
    /// One call of the tool with this name, and no text.
    Named(String),
}

/// How a model writes calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFormat {
    /// What is before a call, or before the list of calls: text and control tokens by their names.
    pub before: String,
    /// What is behind it.
    pub after: String,
    /// What is between calls, which in a list is JSON's business; `None` if there is no more than one.
    pub between: Option<String>,
    /// The key of the arguments.
    pub arguments_key: String,
    /// Whether calls stand in one JSON list, with the marks around all of it.
    pub is_list: bool,
}

/// A text with calls of tools.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCalls {
    /// The tools.
    pub tools: Vec<Tool>,
    /// Which have to be called.
    pub choice: ToolChoice,
    /// How calls are written.
    pub format: CallFormat,
}

impl CallFormat {
    /// That of Hermes and Qwen: `<tool_call>`, a line with an object, `</tool_call>`.
    pub fn hermes() -> CallFormat {
        CallFormat {
            before: "<tool_call>\n".to_owned(),
            after: "\n</tool_call>".to_owned(),
            between: Some("\n".to_owned()),
            arguments_key: "arguments".to_owned(),
            is_list: false,
        }
    }

    /// That of Llama 3.1 and later: one object without marks, with `parameters`.
    pub fn llama() -> CallFormat {
        CallFormat {
            before: String::new(),
            after: String::new(),
            between: None,
            arguments_key: "parameters".to_owned(),
            is_list: false,
        }
    }

    /// That of Mistral: a list behind the control token `[TOOL_CALLS]`.
    pub fn mistral() -> CallFormat {
        CallFormat {
            before: "[TOOL_CALLS]".to_owned(),
            after: String::new(),
            between: Some(String::new()),
            arguments_key: "arguments".to_owned(),
            is_list: true,
        }
    }
}

impl ToolCalls {
    /// The grammar in Lark, for the tokens of `trie`.
    ///
    /// Errors: there are no tools, or not the one that is to be called; a tool's schema is too large or refers to something
    /// outside itself.
    pub(super) fn to_lark(&self, trie: &TokTrie) -> Result<String, EngineError> {
        let [before, after] = [&self.format.before, &self.format.after].map(|mark| Mark::new(mark, trie));
        let mut lark = match self.choice {
            ToolChoice::Auto => self.auto(&before, trie),
            ToolChoice::Named(_) => "start: call\n".to_owned(),
            ToolChoice::Required => format!("start: {}\n", self.calls(trie)),
        };
        let schema = serde_json::to_string(&self.schema()?).expect("JSON can be written");
        let _ = writeln!(lark, "call: {} json {}\njson: %json {schema}", before.lark(), after.lark());
        Ok(lark)
    }

    /// One call or more.
    fn calls(&self, trie: &TokTrie) -> String {
        match &self.format.between {
            Some(between) if !self.format.is_list => format!("call ({} call)*", Mark::new(between, trie).lark()),
            _ => "call".to_owned(),
        }
    }

    /// Text that becomes a call as soon as it shows the mark of one.
    fn auto(&self, before: &Mark, trie: &TokTrie) -> String {
        match before.parts.first() {
            // Nothing marks a call but its brace.
            None => "start: TEXT | SPACE call\nTEXT: /(\\s*[^{\\s](?s:.*))?/\nSPACE: /\\s*/\n".to_owned(),
            Some(Part::Token(_)) => format!("start: TEXT | TEXT {}\nTEXT: /(?s:.*)/\n", self.calls(trie)),
            Some(Part::Text(text)) => {
                // A model that has written the mark but not the white space behind it is held to it all the same.
                let trigger = text.split_inclusive(char::is_whitespace).next().unwrap_or(text).trim_end();
                let trigger = if trigger.is_empty() { text } else { trigger };
                let rest = [Part::Text(text[trigger.len()..].to_owned())].into_iter().chain(before.parts[1..].to_vec());
                let rest = Mark { parts: rest.collect() };
                let after = Mark::new(&self.format.after, trie);
                let start = if self.format.between.is_some() { "marked* TEXT" } else { "TEXT | marked" };
                format!(
                    "start: {start}\nTEXT: /(?s:.*)/\nmarked: trigger {} json {}\ntrigger[lazy]: TEXT {}\n",
                    rest.lark(),
                    after.lark(),
                    quoted(trigger)
                )
            }
        }
    }

    /// The schema of what is between the marks.
    fn schema(&self) -> Result<Value, EngineError> {
        let is_chosen = |tool: &&Tool| match &self.choice {
            ToolChoice::Named(name) => tool.name == *name,
            _ => true,
        };
        let tools: Vec<&Tool> = self.tools.iter().filter(is_chosen).collect();
        if tools.is_empty() {
            let message = match &self.choice {
                ToolChoice::Named(name) => format!("tool {name:?} is not defined"),
                _ => "no tools are defined".to_owned(),
            };
            return Err(EngineError::Grammar { message });
        }
        let place = if self.format.is_list { "#/items/anyOf" } else { "#/anyOf" };
        let calls = tools.iter().enumerate().map(|(i, tool)| self.call(tool, &format!("{place}/{i}")));
        let call = json!({ "anyOf": calls.collect::<Result<Vec<_>, _>>()? });
        let is_one = matches!(self.choice, ToolChoice::Named(_)) || self.format.between.is_none();
        let max = if is_one { 1 } else { u32::MAX };
        let all = json!({ "type": "array", "items": call, "minItems": 1, "maxItems": max });
        Ok(add_options(if self.format.is_list { all } else { call }, Unsupported::Ignored))
    }

    /// The schema of one call, which stands at `place` in that of all.
    fn call(&self, tool: &Tool, place: &str) -> Result<Value, EngineError> {
        let key = &self.format.arguments_key;
        let none = json!({ "type": "object", "properties": {} });
        let parameters = if tool.parameters.is_null() { &none } else { &tool.parameters };
        let parameters = move_references(complete(parameters)?, &format!("{place}/properties/{key}"));
        Ok(json!({
            "type": "object",
            "properties": { "name": { "const": tool.name }, key: parameters },
            "required": ["name", key],
            "additionalProperties": false,
        }))
    }
}

/// A mark around a call, as the model writes it.
struct Mark {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// A control token.
    Token(TokenId),
}

impl Mark {
    /// The mark with the names of control tokens understood as these tokens, the longest name first.
    fn new(mark: &str, trie: &TokTrie) -> Mark {
        let mut parts = Vec::new();
        let mut rest = mark;
        while let Some(first) = rest.chars().next() {
            if let Some((token, len)) = control_token(rest, trie) {
                parts.push(Part::Token(token));
                rest = &rest[len..];
                continue;
            }
            match parts.last_mut() {
                Some(Part::Text(text)) => text.push(first),
                _ => parts.push(Part::Text(first.to_string())),
            }
            rest = &rest[first.len_utf8()..];
        }
        Mark { parts }
    }

    fn lark(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => quoted(text),
            Part::Token(id) => format!("<[{id}]>"),
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join(" ")
    }
}

/// The control token whose name is the longest at the beginning of `text`, and the name's length.
fn control_token(text: &str, trie: &TokTrie) -> Option<(TokenId, usize)> {
    let mut node = trie.child_at_byte(trie.root(), TokTrie::SPECIAL_TOKEN_MARKER)?;
    let mut found = None;
    for (i, byte) in text.bytes().enumerate() {
        let Some(next) = trie.child_at_byte(node, byte) else { break };
        node = next;
        found = node.token_id().map(|id| (id, i + 1)).or(found);
    }
    found
}

/// A text as Lark writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
