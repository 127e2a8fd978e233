//! The languages that an answer can be restricted to.

use serde_json::Value;

use crate::constraint::tool_calls::ToolCalls;

/// The language of an answer, which the model cannot leave.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    Json,
    /// JSON that this schema accepts (draft 2020-12; `constraint::json_schema` says what is supported), its properties in
    /// the order in which the schema names them.
    JsonSchema(Value),
    /// All of the text matches this regular expression, in the syntax of the `regex` crate without look-around and
    /// anchors.
    Regex(String),
    /// A grammar in the variant of Lark's syntax that the `llguidance` crate has.
    Lark(String),
    /// A grammar in llama.cpp's format.
    Gbnf(String),
    /// Calls of tools, or text that may turn into one.
    ToolCalls(ToolCalls),
}
