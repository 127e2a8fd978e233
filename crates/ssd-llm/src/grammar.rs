//! The grammar that the flags of `run` ask for, given on the command line or in a file.

use std::borrow::Cow;

use anyhow::Context;
use engine::{Constraint, EngineError, Grammar, GrammarCompiler};
use model::Tokenizer;

use crate::flags::GrammarFlags;
use crate::usage::Usage;

impl GrammarFlags {
    /// The grammar of the answer, if there is one.
    ///
    /// Errors: a file cannot be read, or a schema is not JSON.
    pub(crate) fn grammar(&self) -> anyhow::Result<Option<Grammar>> {
        if let Some(schema) = &self.json_schema {
            let schema = serde_json::from_str(&text_of(schema)?);
            return match schema {
                Ok(schema) => Ok(Some(Grammar::JsonSchema(schema))),
                Err(error) => Err(Usage(format!("--json-schema is not valid JSON: {error}")).into()),
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
/// Errors: the grammar is invalid or uses something unsupported.
pub(crate) fn compile(grammar: &Grammar, tokenizer: &Tokenizer) -> anyhow::Result<Constraint> {
    let constraint = GrammarCompiler::new(tokenizer)?.compile(grammar);
    constraint.map_err(|error| match error {
        EngineError::Grammar { .. } => Usage(error.to_string()).into(),
        other => other.into(),
    })
}

/// The value of a flag, or the contents of the file that it names after an `@`.
fn text_of(value: &str) -> anyhow::Result<Cow<'_, str>> {
    match value.strip_prefix('@') {
        Some(path) => Ok(std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?.into()),
        None => Ok(value.into()),
    }
}
