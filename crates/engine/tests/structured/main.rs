//! Structured output as a caller sees it: which texts a grammar lets through, what models say under one, and how hostile
//! grammars end.
//!
//! [`support`] asks a constraint about texts and runs models; every other module tells one part of the story.

mod gbnf;
mod gbnf_language;
mod hostile;
mod random_schema;
mod random_schemas;
mod sampling;
mod schemas;
mod support;
mod tool_calls;
