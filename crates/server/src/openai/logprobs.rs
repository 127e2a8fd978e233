//! Log-probabilities of tokens, in the formats of chats and of completions.

use engine::{StepLogprobs, TokenLogprob};
use model::{SpecialTokens, TokenId, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// The most alternatives that are reported.
const MAX_TOP: i64 = 20;

/// JSON has no infinity, which a token has that cannot be chosen.
const LOWEST: f64 = -9999.0;

/// A token of a conversation, with its best rivals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    token: Token,
    top_logprobs: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Token {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

/// The tokens of a completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Columns {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Map<String, Value>>,
    /// Where each begins in the text, in characters.
    text_offset: Vec<usize>,
}

impl Entry {
    pub(super) fn new(tokenizer: &Tokenizer, step: &StepLogprobs) -> Entry {
        let token = |token: &TokenLogprob| {
            let bytes = piece(tokenizer, token.id);
            Token { token: String::from_utf8_lossy(&bytes).into_owned(), logprob: finite(token.logprob), bytes }
        };
        Entry { token: token(&step.chosen), top_logprobs: step.top.iter().map(token).collect() }
    }
}

impl Columns {
    /// Adds a token that begins at `offset`, and moves that to the token's end.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, step: &StepLogprobs, offset: &mut usize) {
        let name = |token: &TokenLogprob| written(&piece(tokenizer, token.id));
        self.tokens.push(name(&step.chosen));
        self.token_logprobs.push(finite(step.chosen.logprob));
        self.top_logprobs.push(step.top.iter().map(|top| (name(top), json!(finite(top.logprob)))).collect());
        self.text_offset.push(*offset);
        let shown = tokenizer.piece(step.chosen.id, SpecialTokens::Hide);
        // Every character has one byte that continues none.
        *offset += shown.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// How many alternatives are reported in a conversation, if log-probabilities are wanted.
///
/// Errors: more than 20, or alternatives to what is not wanted.
pub(super) fn of_chat(wanted: Option<bool>, top: Option<i64>) -> Result<Option<usize>, Failure> {
    let n = number(top, "top_logprobs")?;
    match (wanted == Some(true), n) {
        (false, Some(1..)) => {
            Err(Failure::bad_field("top_logprobs", "top_logprobs needs logprobs to be true: set it, or leave both out"))
        }
        (wanted, n) => Ok(wanted.then_some(n.unwrap_or(0))),
    }
}

/// A number of alternatives.
///
/// Errors: more than 20 or less than none.
pub(super) fn number(n: Option<i64>, param: &'static str) -> Result<Option<usize>, Failure> {
    let Some(n) = n else { return Ok(None) };
    let allowed = usize::try_from(n).ok().filter(|_| n <= MAX_TOP);
    let wrong = || Failure::bad_field(param, format!("{param} must be between 0 and {MAX_TOP}, not {n}"));
    allowed.map(Some).ok_or_else(wrong)
}

fn piece(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    tokenizer.piece(id, SpecialTokens::Show).into_owned()
}

/// As it is written in either way of writing JSON: text and value.
fn finite(logprob: f32) -> f64 {
    f64::from(logprob).max(LOWEST)
}

/// A token's text; one that is part of a character only is written as its bytes.
fn written(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| text + &format!("\\x{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(of_chat(Some(true), Some(20)).unwrap(), Some(20));
        assert_eq!(of_chat(Some(true), None).unwrap(), Some(0));
        assert_eq!(of_chat(None, None).unwrap(), None);
        assert_eq!(of_chat(Some(false), Some(0)).unwrap(), None);
        for (wanted, top) in [(Some(true), 21), (Some(true), -1), (None, 3), (Some(false), 1)] {
            assert_eq!(of_chat(wanted, Some(top)).unwrap_err().param.as_deref(), Some("top_logprobs"));
        }
    }

    #[test]
    fn what_is_no_text_is_written_as_bytes() {
        assert_eq!(written("né".as_bytes()), "né");
        assert_eq!(written(&[0xE2, 0x80]), "bytes:\\xe2\\x80");
        assert_eq!(finite(f32::NEG_INFINITY), LOWEST);
    }
}
