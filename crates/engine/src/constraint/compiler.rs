//! From grammars to constraints.
//!
//! Grammars come from strangers. What bounds them: sizes that are checked first, the library's own limits on the grammar
//! and on the work for a mask, and a thread with a large stack for deep recursion.

use std::sync::Arc;
use std::thread;

use llguidance::ParserFactory;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use model::Tokenizer;
use serde_json::{Value, json};

use crate::constraint::gbnf::translate::to_lark;
use crate::constraint::grammar::Grammar;
use crate::constraint::json_schema::prepare;
use crate::constraint::matcher::{Constraint, failed};
use crate::constraint::vocabulary::token_env;
use crate::error::EngineError;

/// Address space for the stack that grammars are compiled on; only what is used takes memory.
const STACK_BYTES: usize = 256 << 20;

/// Bytes of a grammar's text.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// States of a grammar's lexer, of one to two kilobytes each.
const MAX_LEXER_STATES: usize = 30_000;

/// Compiles grammars for one model's tokens. Clones are cheap and share everything.
#[derive(Clone)]
pub struct GrammarCompiler {
    factory: Arc<ParserFactory>,
}

impl GrammarCompiler {
    /// Prepares a tokenizer's tokens, which takes a fraction of a second and some tens of megabytes for 150,000 of them.
    ///
    /// Errors: there are more than 16 million tokens.
    pub fn new(tokenizer: &Tokenizer) -> Result<GrammarCompiler, EngineError> {
        let environment = token_env(tokenizer)?;
        let slices = SlicedBiasComputer::json_slices();
        let mut factory =
            ParserFactory::new(&environment, InferenceCapabilities::default(), &slices).map_err(failed)?;
        factory.quiet();
        *factory.limits_mut() =
            ParserLimits { max_lexer_states: MAX_LEXER_STATES, verbose_errors: false, ..ParserLimits::default() };
        Ok(GrammarCompiler { factory: Arc::new(factory) })
    }

    /// The constraint that keeps a text in `grammar`.
    ///
    /// Errors: the grammar is wrong, too large, has no text, or asks for what is not supported.
    pub fn compile(&self, grammar: &Grammar) -> Result<Constraint, EngineError> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            let compiled = thread.spawn_scoped(scope, || self.compile_here(grammar)).map_err(failed)?;
            compiled.join().unwrap_or_else(|_| Err(failed("the compiler failed")))
        })
    }

    fn compile_here(&self, grammar: &Grammar) -> Result<Constraint, EngineError> {
        let grammar = match grammar {
            Grammar::Json => from_schema(&json!({ "type": "object" }))?,
            Grammar::JsonSchema(schema) => from_schema(schema)?,
            Grammar::Regex(regex) => TopLevelGrammar::from_regex(within_limit(regex)?),
            Grammar::Lark(lark) => TopLevelGrammar::from_lark(within_limit(lark)?.to_owned()),
            Grammar::Gbnf(text) => TopLevelGrammar::from_lark(to_lark(within_limit(text)?)?),
            Grammar::ToolCalls(calls) => TopLevelGrammar::from_lark(calls.to_lark(self.factory.tok_env().tok_trie())?),
        };
        let mut constraint = Constraint::new(self.factory.create_parser(grammar).map_err(failed)?);
        // A grammar that no text can begin to satisfy is found out here, and not by the one who runs it.
        constraint.mask()?;
        Ok(constraint)
    }
}

fn from_schema(schema: &Value) -> Result<TopLevelGrammar, EngineError> {
    Ok(TopLevelGrammar::from_json_schema(prepare(schema)?))
}

fn within_limit(text: &str) -> Result<&str, EngineError> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(text);
    }
    Err(EngineError::Grammar { message: format!("its text has {} bytes, and at most {MAX_TEXT_BYTES}", text.len()) })
}
