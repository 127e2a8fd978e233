//! The description under construction: paths, schemas and error formats.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::operation::{JSON, Operation};
use super::schema;

/// A description under construction.
#[derive(Default)]
pub(crate) struct Description {
    /// The model's name, for examples.
    pub(crate) model: String,
    has_key: bool,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    responses: Map<String, Value>,
}

/// The API of a route, which determines the format of its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Ollama,
    OpenAi,
    Anthropic,
    /// ssd-llm's own, with OpenAI's errors.
    Own,
}

impl Api {
    fn name(self) -> &'static str {
        match self {
            Api::Ollama => "Ollama",
            Api::OpenAi => "OpenAI",
            Api::Anthropic => "Anthropic",
            Api::Own => "ssd-llm",
        }
    }

    /// The names of the response and the schema of its errors.
    fn error(self) -> (&'static str, &'static str) {
        match self {
            Api::Ollama => ("OllamaError", "ollama.Error"),
            Api::OpenAi | Api::Own => ("OpenAiError", "openai.Error"),
            Api::Anthropic => ("AnthropicError", "anthropic.Error"),
        }
    }
}

impl Description {
    pub(super) fn new(model: &str, has_key: bool) -> Description {
        Description { model: model.to_owned(), has_key, ..Description::default() }
    }

    /// Adds a route.
    pub(crate) fn add(&mut self, api: Api, method: &str, path: &str, operation: Operation) {
        let Operation { summary, body, answers: mut responses, errors, needs_key } = operation;
        for status in errors {
            responses
                .entry(status.to_string())
                .or_insert_with(|| json!({ "$ref": format!("#/components/responses/{}", api.error().0) }));
        }
        responses.sort_keys();
        let mut object = json!({ "tags": [api.name()], "summary": summary, "responses": responses });
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameter = |name| json!({ "name": name, "in": "path", "required": true, "schema": schema::text() });
        let parameters: Vec<Value> = names.map(parameter).collect();
        if !parameters.is_empty() {
            object["parameters"] = Value::Array(parameters);
        }
        if let Some(body) = body {
            object["requestBody"] = body;
        }
        if needs_key && self.has_key {
            object["security"] = json!([{ "bearer": [] }, { "key": [] }]);
        }
        self.paths.entry(path).or_insert_with(|| json!({}))[method] = object;
    }

    /// Adds a type of requests, and the types that it uses.
    pub(crate) fn request<T: ToSchema>(&mut self) -> Value {
        let mut all = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut all);
        for (name, schema) in all {
            self.schemas.insert(name, serde_json::to_value(schema).expect("a schema can be written as JSON"));
        }
        schema::reference(&T::name())
    }

    /// Adds a schema under a name.
    pub(crate) fn schema(&mut self, name: &str, schema: Value) -> Value {
        self.schemas.insert(name.to_owned(), schema);
        schema::reference(name)
    }

    /// Adds the error format of an API.
    pub(crate) fn error(&mut self, api: Api, words: &str, schema: Value) {
        let schema = self.schema(api.error().1, schema);
        let error = json!({ "description": words, "content": { JSON: { "schema": schema } } });
        self.responses.insert(api.error().0.to_owned(), error);
    }

    pub(super) fn into_json(self) -> Value {
        let mut components = json!({ "schemas": self.schemas, "responses": self.responses });
        if self.has_key {
            components["securitySchemes"] = json!({
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            });
        }
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "ssd-llm",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "A model that may be larger than memory, as Ollama's, OpenAI's and Anthropic's clients know it. \
                                A wrong method is answered with 405, and every error has the shape of the path's API.",
            },
            "paths": self.paths,
            "components": components,
        })
    }
}
