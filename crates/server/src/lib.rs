//! HTTP in front of the engine: what Ollama's, OpenAI's and Anthropic's clients speak, and a page for people.
//!
//! Deliberately absent: inference.
