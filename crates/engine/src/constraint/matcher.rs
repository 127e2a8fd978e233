//! A compiled grammar at its position in a text: which tokens may come next.

use std::fmt;

use llguidance::toktrie::SimpleVob;
use llguidance::{Matcher, TokenParser};
use model::TokenId;

use crate::error::EngineError;

/// Which tokens may come next in one text. It begins before the first generated token; the prompt is no part of the text.
///
/// Clones go separate ways. They share what has been worked out about the grammar, so a clone of a compiled constraint is
/// quicker than compiling it again.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
}

impl Constraint {
    pub(super) fn new(parser: TokenParser) -> Constraint {
        Constraint { matcher: Matcher::new(Ok(parser)) }
    }

    /// Whether `token` may come next; an end of generation may where the text is complete.
    ///
    /// Errors: the grammar became too complex to be followed.
    pub fn allows(&mut self, token: TokenId) -> Result<bool, EngineError> {
        if self.is_complete() {
            return Ok(false);
        }
        self.matcher.validate_tokens(&[token]).map(|n| n == 1).map_err(failed)
    }

    /// All tokens that may come next.
    ///
    /// Errors: none may, since the vocabulary cannot spell what has to come; or the grammar became too complex to be
    /// followed.
    pub fn mask(&mut self) -> Result<TokenMask, EngineError> {
        self.matcher.compute_mask().map(TokenMask).map_err(failed)
    }

    /// Takes the next token of the text.
    ///
    /// Errors: it may not come here, or the grammar became too complex to be followed.
    pub fn accept(&mut self, token: TokenId) -> Result<(), EngineError> {
        self.matcher.consume_token(token).map_err(failed)
    }

    /// Whether the text is complete and nothing may follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.stop_reason().is_ok() && self.matcher.is_stopped()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("stop_reason", &self.matcher.stop_reason()).finish_non_exhaustive()
    }
}

/// A set of tokens.
#[derive(Clone, Debug)]
pub struct TokenMask(SimpleVob);

impl TokenMask {
    /// Whether `token` is in the set.
    pub fn has(&self, token: TokenId) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }

    /// Makes `out` a copy of `logits` in which tokens outside the set have negative infinity.
    pub(crate) fn apply(&self, logits: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.resize(logits.len(), f32::NEG_INFINITY);
        for ((word, from), to) in self.0.as_slice().iter().zip(logits.chunks(32)).zip(out.chunks_mut(32)) {
            let mut left = *word;
            while left != 0 {
                let at = left.trailing_zeros() as usize;
                left &= left - 1;
                if at < from.len() {
                    to[at] = from[at];
                }
            }
        }
    }
}

/// Characters of an error; the library repeats whole expressions.
const MAX_MESSAGE: usize = 300;

/// An error of the library in one line; what follows are its own notes.
pub(super) fn failed(error: impl fmt::Display) -> EngineError {
    let text = format!("{error:#}");
    let first = text.lines().next().unwrap_or_default().trim();
    // A regular expression's error has its reason in the last line, below a drawing.
    let reason = text.lines().find_map(|line| line.trim().strip_prefix("error: "));
    let message = match (first, reason) {
        ("NoExtensionBias", _) => "no token of this model can come here, or no text satisfies it".to_owned(),
        (first, _) if first.starts_with("panic: ") => "the compiler does not understand it".to_owned(),
        (first, Some(reason)) => format!("{first} {reason}"),
        (first, None) => first.to_owned(),
    };
    EngineError::Grammar { message: message.chars().take(MAX_MESSAGE).collect() }
}
