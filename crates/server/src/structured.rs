//! Constraints on answers: any JSON object, a JSON schema, or tool calls.

use std::sync::Arc;

use engine::{CallFormat, Constraint, Grammar, GrammarCompiler, Tool, ToolCalls, ToolChoice};
use serde_json::Value;

use crate::app::{App, Facts};
use crate::failure::Failure;

/// The shape of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A JSON object.
    Json,
    /// What a JSON schema allows.
    Schema(Value),
    /// Calls of tools as the choice says, each tool `{"type": "function", "function": {...}}`.
    Calls {
        tools: Vec<Value>,
        choice: ToolChoice,
        /// Whether there may be more than one.
        is_parallel: bool,
    },
}

impl Shape {
    /// Reads Ollama's `format`.
    ///
    /// Errors: it is neither `"json"` nor a schema.
    pub(crate) fn of_ollama(format: Option<&Value>) -> Result<Option<Shape>, Failure> {
        match format {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) if text == "json" => Ok(Some(Shape::Json)),
            Some(Value::Object(schema)) => Ok(Some(Shape::Schema(Value::Object(schema.clone())))),
            Some(other) => {
                let shown = Value::String(other.to_string());
                let message = format!("invalid format: {shown}; expected \"json\" or a valid JSON Schema object");
                Err(Failure::bad_field("format", message))
            }
        }
    }

    /// Reads OpenAI's `response_format`, where a schema is under `json_schema`, and `text.format`, where it is not; `param` is
    /// the field's name. llama.cpp's schema beside `json_object` is understood too.
    ///
    /// Errors: it is of another type, or has no schema.
    pub(crate) fn of_openai(format: Option<&Value>, param: &'static str) -> Result<Option<Shape>, Failure> {
        let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(None) };
        let schema = format.get("json_schema").unwrap_or(format).get("schema").filter(|schema| !schema.is_null());
        match (format["type"].as_str(), schema) {
            (Some("text"), _) => Ok(None),
            (Some("json_object"), None) => Ok(Some(Shape::Json)),
            (Some("json_object" | "json_schema"), Some(schema)) if schema.is_object() || schema.is_boolean() => {
                Ok(Some(Shape::Schema(schema.clone())))
            }
            (Some("json_object" | "json_schema"), Some(_)) => {
                Err(Failure::bad_field(param, format!("{param}: the schema must be an object")))
            }
            (Some("json_schema"), None) => Err(Failure::bad_field(param, format!("{param}: the schema is missing"))),
            _ => Err(Failure::bad_field(
                param,
                format!("{param} must be an object whose type is \"text\", \"json_object\" or \"json_schema\""),
            )),
        }
    }

    /// Whether the answer must be JSON, and so is never a tool call, whatever it looks like.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self, Shape::Json | Shape::Schema(_))
    }

    /// Whether the answer is JSON or a call from its first token on, without thoughts.
    pub(crate) fn is_forced(&self) -> bool {
        match self {
            Shape::Json | Shape::Schema(_) => true,
            Shape::Calls { choice, .. } => *choice != ToolChoice::Auto,
        }
    }
}

impl App {
    /// Compiles the constraint of a shape.
    ///
    /// Errors: the schema is invalid, too large, or uses something unsupported.
    pub(crate) async fn constrain(self: &Arc<App>, shape: Option<Shape>) -> Result<Option<Constraint>, Failure> {
        let Some(grammar) = shape.and_then(|shape| shape.grammar(&self.facts)) else { return Ok(None) };
        // A schema may take a while.
        let compile = move |app: &App| Ok(app.grammars()?.compile(&grammar)?);
        self.aside(compile).await.map(Some)
    }

    /// Created on first use: many servers never see a schema.
    fn grammars(&self) -> Result<&GrammarCompiler, Failure> {
        if let Some(compiler) = self.grammars.get() {
            return Ok(compiler);
        }
        let compiler = GrammarCompiler::new(&self.facts.tokenizer)?;
        Ok(self.grammars.get_or_init(|| compiler))
    }
}

impl Shape {
    /// The grammar of the answer, unless it is free.
    fn grammar(self, facts: &Facts) -> Option<Grammar> {
        let (tools, choice, is_parallel) = match self {
            Shape::Json => return Some(Grammar::Json),
            Shape::Schema(schema) => return Some(Grammar::JsonSchema(schema)),
            Shape::Calls { tools, choice, is_parallel } => (tools, choice, is_parallel),
        };
        let tool = |tool: &Value| Tool {
            name: tool["function"]["name"].as_str().unwrap_or_default().to_owned(),
            parameters: tool["function"]["parameters"].clone(),
        };
        let tools: Vec<Tool> = tools.iter().map(tool).filter(|tool| !tool.name.is_empty()).collect();
        let mut format = call_format(facts);
        if !is_parallel {
            format.between = None;
        }
        (!tools.is_empty()).then_some(Grammar::ToolCalls(ToolCalls { tools, choice, format }))
    }
}

/// How the model writes calls, judging by its template. Models without tools are told to write them as Hermes does.
fn call_format(facts: &Facts) -> CallFormat {
    let has =
        |mark: &str| facts.has_tools() && facts.template_source.as_ref().is_some_and(|source| source.contains(mark));
    if has("[TOOL_CALLS]") {
        CallFormat::mistral()
    } else if has("<|python_tag|>") || has("\"parameters\": dictionary") {
        CallFormat::llama()
    } else {
        CallFormat::hermes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_read_as_openai_writes_them() {
        let schema = json!({ "type": "object" });
        let read = |format: Value| Shape::of_openai(Some(&format), "response_format");
        assert_eq!(Shape::of_openai(None, "response_format").unwrap(), None);
        assert_eq!(read(json!(null)).unwrap(), None);
        assert_eq!(read(json!({ "type": "text" })).unwrap(), None);
        assert_eq!(read(json!({ "type": "json_object" })).unwrap(), Some(Shape::Json));
        for format in [
            json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema, "strict": true } }),
            json!({ "type": "json_schema", "name": "x", "schema": schema }),
            json!({ "type": "json_object", "schema": schema }),
        ] {
            assert_eq!(read(format.clone()).unwrap(), Some(Shape::Schema(schema.clone())), "{format}");
        }
        for wrong in [
            json!("json"),
            json!({}),
            json!({ "type": "xml" }),
            json!({ "type": "json_schema" }),
            json!({ "type": "json_schema", "json_schema": { "schema": 1 } }),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err().param.as_deref(), Some("response_format"), "{wrong}");
        }
    }
}
