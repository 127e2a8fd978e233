//! SentencePiece BPE: scores decide which neighbours merge; characters without a token become byte tokens.
//!
//! Spaces become `▁`, a text at the start or after a special token is prefixed with one if the file says so, and characters
//! merge into the token with the best score until none is left. If no token has a `▁` after another character, as in every
//! vocabulary trained on words, merges never cross words and each word is merged alone: the same tokens, with a heap as
//! large as a word instead of the text.

use std::borrow::Cow;

use super::merge_chain::{ABSENT, Merge, MergeChain, Symbol};
use super::vocabulary::{TokenId, TokenKind, Vocabulary, one_per_token};
use super::word_memory::WordMemory;
use crate::error::ModelError;
use crate::gguf::metadata::Metadata;
use crate::gguf::value::Array;

const SCORES: &str = "tokenizer.ggml.scores";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// The spelling of a space.
const SPACE: &str = "▁";

/// The merging rules of a `llama` vocabulary.
pub(super) struct SentencePiece {
    /// Per token: smaller merges first.
    orders: Vec<u32>,
    space_prefix: bool,
    /// Whether no token reaches from one word into the next.
    words_apart: bool,
    bytes: Vec<Option<TokenId>>,
    unknown: Option<TokenId>,
}

impl SentencePiece {
    /// Errors: the file does not have one score per token.
    pub(super) fn new(
        metadata: &Metadata,
        vocabulary: &Vocabulary,
        unknown: Option<TokenId>,
    ) -> Result<SentencePiece, ModelError> {
        let scores = match metadata.array(SCORES)? {
            Some(Array::F32(scores)) => scores,
            Some(_) => return Err(ModelError::metadata(SCORES, "is not an array of 32-bit floats")),
            None => return Err(ModelError::metadata(SCORES, "is missing")),
        };
        one_per_token(SCORES, scores.len(), vocabulary.len())?;
        Ok(SentencePiece {
            orders: scores.iter().map(|&score| order(score)).collect(),
            space_prefix: metadata.boolean(ADD_SPACE_PREFIX)?.unwrap_or(true),
            words_apart: words_apart(vocabulary),
            bytes: (0..=u8::MAX).map(|byte| byte_token(vocabulary, byte)).collect(),
            unknown,
        })
    }

    /// Appends the tokens of `text`; `after_special` says that it is at the start or follows a special token.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, after_special: bool, out: &mut Vec<TokenId>) {
        let mut spelled = if self.space_prefix && after_special { SPACE.to_owned() } else { String::new() };
        spelled.reserve(text.len() + text.len() / 2);
        for (i, part) in text.split(' ').enumerate() {
            spelled.push_str(if i > 0 { SPACE } else { "" });
            spelled.push_str(part);
        }
        let mut chain = MergeChain::default();
        let mut memory = WordMemory::new(spelled.len());
        let mut rest = spelled.as_str();
        while !rest.is_empty() {
            let (word, after) = rest.split_at(if self.words_apart { word_end(rest) } else { rest.len() });
            memory.append(word, out, |word, out| self.encode_word(vocabulary, word, &mut chain, out));
            rest = after;
        }
    }

    fn encode_word(&self, vocabulary: &Vocabulary, word: &str, chain: &mut MergeChain, out: &mut Vec<TokenId>) {
        chain.clear();
        for (start, c) in word.char_indices() {
            let character = &word.as_bytes()[start..start + c.len_utf8()];
            chain.push(character.len(), vocabulary.ordinary_id(character).unwrap_or(ABSENT));
        }
        chain.merge(|left, right| {
            let (start, end) = (left.start as usize, (right.start + right.len) as usize);
            let token = vocabulary.ordinary_id(&word.as_bytes()[start..end])?;
            Some(Merge { order: self.orders[token as usize], token })
        });
        for symbol in chain.symbols() {
            self.emit(word, symbol, out);
        }
    }

    /// Appends a symbol's token, or the tokens of its bytes, or the unknown token if a byte has none.
    fn emit(&self, word: &str, symbol: &Symbol, out: &mut Vec<TokenId>) {
        if symbol.token != ABSENT {
            return out.push(symbol.token);
        }
        let bytes = &word.as_bytes()[symbol.start as usize..(symbol.start + symbol.len) as usize];
        let before = out.len();
        out.extend(bytes.iter().map_while(|&byte| self.bytes[usize::from(byte)]));
        if out.len() - before < bytes.len() {
            out.truncate(before);
            out.extend(self.unknown);
        }
    }

    /// The bytes that a token's text spells.
    pub(super) fn bytes_of(text: &[u8]) -> Cow<'_, [u8]> {
        match str::from_utf8(text) {
            Ok(text) if text.contains(SPACE) => Cow::Owned(text.replace(SPACE, " ").into_bytes()),
            _ => Cow::Borrowed(text),
        }
    }
}

/// Ranks scores, the highest first; the two zeros are equal, and NaN comes last.
fn order(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { i32::MAX as u32 - bits } else { bits }
}

/// The token for a byte: its byte token, or else the token with this text.
fn byte_token(vocabulary: &Vocabulary, byte: u8) -> Option<TokenId> {
    vocabulary.byte_id(byte).or_else(|| vocabulary.ordinary_id(&[byte]))
}

/// The end of the first word: before the first `▁` that follows another character.
fn word_end(text: &str) -> usize {
    let spaces = text.len() - text.trim_start_matches(SPACE).len();
    text[spaces..].find(SPACE).map_or(text.len(), |at| spaces + at)
}

fn words_apart(vocabulary: &Vocabulary) -> bool {
    let mut texts = vocabulary.iter().filter(|(_, _, kind)| matches!(kind, TokenKind::Text | TokenKind::UserDefined));
    texts.all(|(_, text, _)| str::from_utf8(text).is_ok_and(|text| word_end(text) == text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_scores_merge_first() {
        let scores = [f32::INFINITY, 2.5, 1e-40, 0.0, -1e-40, -1.0, -3e9, f32::NEG_INFINITY, f32::NAN];
        assert!(scores.map(order).is_sorted());
        assert_eq!(order(0.0), order(-0.0));
        assert!(order(1.0) < order(0.5));
    }

    #[test]
    fn words_end_before_the_next_run_of_spaces() {
        assert_eq!(word_end("▁a▁b"), "▁a".len());
        assert_eq!(word_end("▁▁▁"), "▁▁▁".len());
        assert_eq!(word_end("ab"), 2);
    }
}
