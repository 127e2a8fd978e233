//! HTTP server for the engine: the APIs of Ollama, OpenAI and Anthropic, and a web page.
//!
//! [`Server::new`] puts a loaded model behind the routes, and [`Server::run`] serves until it is told to stop. Handlers translate
//! requests to the engine's `GenerateRequest` and its events back to the format of each API. `prompt` turns conversations into
//! tokens, `answer` is a request in flight, `stream` a streamed body, and `parts` splits text into thoughts, text and tool calls.
//!
//! Deliberately absent: inference.

mod answer;
mod anthropic;
mod app;
mod body;
mod embedding;
mod failure;
mod guard;
mod hold;
mod json_syntax;
mod json_value;
mod keep_alive;
mod listen;
mod metrics;
mod native;
mod ollama;
mod openai;
mod openapi;
mod options;
mod page;
mod parts;
mod prompt;
mod router;
mod stream;
mod structured;
mod tools;

pub use listen::Server;
pub use options::ServerOptions;
