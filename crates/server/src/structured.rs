//! What an answer has to be, as requests say it: any JSON object, or what a schema allows.

use serde_json::Value;

use crate::failure::Failure;

/// The shape of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A JSON object.
    Json,
    /// What a JSON schema allows.
    Schema(Value),
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
}
