//! The description of all routes, at `/openapi.json`.
//!
//! Every API describes its routes as [`Operation`]s: what a request brings comes from the types that read it, what an answer is
//! like is written with the words of [`schema`]. Tests compare the description with what the router does, and answers with it.

mod own;
pub(crate) mod schema;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::{anthropic, ollama, openai};

pub(crate) const JSON: &str = "application/json";
pub(crate) const LINES: &str = "application/x-ndjson";
pub(crate) const EVENTS: &str = "text/event-stream";
pub(crate) const TEXT: &str = "text/plain";

/// What can be wrong with any request: its head, who sends it, and its body.
const ANY: [u16; 5] = [400, 401, 403, 408, 413];

/// And with one that the engine answers.
pub(crate) const ENGINE: [u16; 3] = [404, 500, 503];

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/openapi.json", get(description))
}

async fn description(State(app): State<Arc<App>>) -> Json<Value> {
    let mut all =
        Description { model: app.facts.name.clone(), has_key: app.options.api_key.is_some(), ..Default::default() };
    ollama::describe(&mut all);
    openai::describe(&mut all);
    anthropic::describe(&mut all);
    own::describe(&mut all);
    Json(all.into_json())
}

/// A description on its way.
#[derive(Default)]
pub(crate) struct Description {
    /// The model's name, for examples.
    pub(crate) model: String,
    has_key: bool,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
}

/// Whose route it is, and so whose shape its errors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Ollama,
    OpenAi,
    Anthropic,
    /// This program's own, with OpenAI's errors.
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

    fn error(self) -> Value {
        let name = match self {
            Api::Ollama => "OllamaError",
            Api::OpenAi | Api::Own => "OpenAiError",
            Api::Anthropic => "AnthropicError",
        };
        json!({ "$ref": format!("#/components/responses/{name}") })
    }
}

/// What a method of a path does.
pub(crate) struct Operation {
    summary: &'static str,
    body: Option<Value>,
    answers: Map<String, Value>,
    errors: Vec<u16>,
    needs_key: bool,
}

impl Operation {
    pub(crate) fn new(summary: &'static str) -> Operation {
        Operation { summary, body: None, answers: Map::new(), errors: ANY.to_vec(), needs_key: true }
    }

    /// The request has a body like this.
    pub(crate) fn takes(self, schema: Value, example: Value) -> Operation {
        let content = json!({ JSON: { "schema": schema, "example": example } });
        Operation { body: Some(json!({ "required": true, "content": content })), ..self }
    }

    /// The answer may be of this type, and like this; if it is lines or events, each of them is.
    pub(crate) fn gives(mut self, kind: &str, schema: Value) -> Operation {
        let schema = if kind == EVENTS { schema::event(schema) } else { schema };
        self.answer(200)["content"][kind] = json!({ "schema": schema });
        self
    }

    /// The events end with one that has this text for its data.
    pub(crate) fn ends_with(mut self, text: &str) -> Operation {
        let data = &mut self.answer(200)["content"][EVENTS]["schema"]["properties"]["data"];
        *data = schema::either(&[data.take(), schema::only(text)]);
        self
    }

    /// The answer may be this status and nothing more.
    pub(crate) fn gives_nothing(mut self, status: u16) -> Operation {
        self.answer(status);
        self
    }

    fn answer(&mut self, status: u16) -> &mut Value {
        let words = if status < 300 { "The answer." } else { "It is not there." };
        self.answers.entry(status.to_string()).or_insert_with(|| json!({ "description": words }))
    }

    /// What else may go wrong.
    pub(crate) fn fails(mut self, statuses: &[u16]) -> Operation {
        self.errors.extend_from_slice(statuses);
        self
    }

    /// No key is needed.
    pub(crate) fn open(mut self) -> Operation {
        self.errors.retain(|status| *status != 401);
        Operation { needs_key: false, ..self }
    }
}

impl Description {
    /// Adds a route.
    pub(crate) fn add(&mut self, api: Api, method: &str, path: &str, operation: Operation) {
        let Operation { summary, body, answers: mut responses, errors, needs_key } = operation;
        for status in errors {
            responses.entry(status.to_string()).or_insert_with(|| api.error());
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

    /// Adds a type that reads requests, and those that it needs.
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

    fn into_json(mut self) -> Value {
        let error =
            |words: &str, schema: Value| json!({ "description": words, "content": { JSON: { "schema": schema } } });
        let responses = json!({
            "OllamaError": error("What is wrong, in words.", self.schema("ollama.Error", ollama::error_schema())),
            "OpenAiError": error("What is wrong, and with which field.", self.schema("openai.Error", openai::error_schema())),
            "AnthropicError": error("What is wrong.", self.schema("anthropic.Error", anthropic::error_schema())),
        });
        let mut components = json!({ "schemas": self.schemas, "responses": responses });
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
