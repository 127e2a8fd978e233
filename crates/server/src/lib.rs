//! HTTP in front of the engine: what Ollama's, OpenAI's and Anthropic's clients speak, and a page for people.
//!
//! [`Server::new`] puts a loaded model behind the routes and [`Server::run`] answers until it is told to end. Handlers translate:
//! a request becomes an engine's `GenerateRequest`, what comes of it the shapes that an API has for it. `prompt` makes tokens
//! of conversations, `answer` is a request on its way, `stream` a body that is written as it comes, `parts` takes thoughts and
//! calls of tools out of a text.
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
