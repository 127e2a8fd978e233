//! The grammar that the flags of `run` ask for, from the command line or from a file.

use std::borrow::Cow;

use anyhow::Context;
use engine::{Constraint, EngineError, Grammar, GrammarCompiler};
use model::Tokenizer;

use crate::cmd::Usage;
use crate::flags::GrammarFlags;

impl GrammarFlags {
    /// What the answer has to be, if that was said.
    ///
    /// Errors: a file cannot be read, or a schema is no JSON.
    pub(crate) fn grammar(&self) -> anyhow::Result<Option<Grammar>> {
        if let Some(schema) = &self.json_schema {
            let schema = serde_json::from_str(&text_of(schema)?);
            return match schema {
                Ok(schema) => Ok(Some(Grammar::JsonSchema(schema))),
                Err(error) => Err(Usage(format!("--json-schema is no JSON: {error}")).into()),
            };
        }
        if let Some(gbnf) = &self.grammar {
            return Ok(Some(Grammar::Gbnf(text_of(gbnf)?.into_owned())));
        }
        if let Some(lark) = &self.lark {
            return Ok(Some(Grammar::Lark(text_of(lark)?.into_owned())));
        }
        Ok(self.regex.clone().map(Grammar::Regex))
    }
}

/// The constraint for a grammar.
///
/// Errors: the grammar is wrong, or asks for what is not supported.
pub(crate) fn compile(grammar: &Grammar, tokenizer: &Tokenizer) -> anyhow::Result<Constraint> {
    let constraint = GrammarCompiler::new(tokenizer)?.compile(grammar);
    constraint.map_err(|error| match error {
        EngineError::Grammar { .. } => Usage(error.to_string()).into(),
        other => other.into(),
    })
}

/// The value of a flag, or what is in the file that it names behind an `@`.
fn text_of(value: &str) -> anyhow::Result<Cow<'_, str>> {
    match value.strip_prefix('@') {
        Some(path) => Ok(std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?.into()),
        None => Ok(value.into()),
    }
}
