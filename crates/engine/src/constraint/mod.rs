//! Structured output: tokens that would leave a grammar are never chosen, so a text that ends is a text of the grammar.
//!
//! A [`GrammarCompiler`] is made once for a model's tokenizer and turns a [`Grammar`] into a [`Constraint`], which goes
//! into a request and follows its text token by token.

mod compiler;
mod gbnf;
mod grammar;
mod json_schema;
pub(crate) mod matcher;
mod tool_calls;
mod vocabulary;

pub use compiler::GrammarCompiler;
pub use grammar::Grammar;
pub use matcher::{Constraint, TokenMask};
pub use tool_calls::{CallFormat, Tool, ToolCalls, ToolChoice};
