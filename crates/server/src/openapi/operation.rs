//! One method of one path: its body, its answers and its errors.

use serde_json::{Map, Value, json};

use super::schema;

pub(crate) const JSON: &str = "application/json";
pub(crate) const LINES: &str = "application/x-ndjson";
pub(crate) const EVENTS: &str = "text/event-stream";
pub(crate) const TEXT: &str = "text/plain";

/// Errors of any request: its head, access control and its body.
const ANY: [u16; 5] = [400, 401, 403, 408, 413];

/// Errors of requests to the engine.
pub(crate) const ENGINE: [u16; 3] = [404, 500, 503];

/// One method of a path.
pub(crate) struct Operation {
    pub(super) summary: &'static str,
    pub(super) body: Option<Value>,
    pub(super) answers: Map<String, Value>,
    pub(super) errors: Vec<u16>,
    pub(super) needs_key: bool,
}

impl Operation {
    pub(crate) fn new(summary: &'static str) -> Operation {
        Operation { summary, body: None, answers: Map::new(), errors: ANY.to_vec(), needs_key: true }
    }

    /// Adds a request body.
    pub(crate) fn takes(self, schema: Value, example: Value) -> Operation {
        let content = json!({ JSON: { "schema": schema, "example": example } });
        Operation { body: Some(json!({ "required": true, "content": content })), ..self }
    }

    /// Adds an answer of a content type; for lines and events the schema is that of each.
    pub(crate) fn gives(mut self, kind: &str, schema: Value) -> Operation {
        let schema = if kind == EVENTS { schema::event(schema) } else { schema };
        self.answer(200)["content"][kind] = json!({ "schema": schema });
        self
    }

    /// The last event has this text as its data.
    pub(crate) fn ends_with(mut self, text: &str) -> Operation {
        let data = &mut self.answer(200)["content"][EVENTS]["schema"]["properties"]["data"];
        *data = schema::either(&[data.take(), schema::only(text)]);
        self
    }

    /// Adds an answer without a body.
    pub(crate) fn gives_nothing(mut self, status: u16) -> Operation {
        self.answer(status);
        self
    }

    fn answer(&mut self, status: u16) -> &mut Value {
        let words = if status < 300 { "The answer." } else { "It is not there." };
        self.answers.entry(status.to_string()).or_insert_with(|| json!({ "description": words }))
    }

    /// Adds errors.
    pub(crate) fn fails(mut self, statuses: &[u16]) -> Operation {
        self.errors.extend_from_slice(statuses);
        self
    }

    /// Needs no API key.
    pub(crate) fn open(mut self) -> Operation {
        self.errors.retain(|status| *status != 401);
        Operation { needs_key: false, ..self }
    }
}
