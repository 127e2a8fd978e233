//! Cuts special tokens out of a text before it is tokenized.
//!
//! [`SpecialTokenFinder`] finds the texts of special tokens: always those of user-defined tokens, and those of control and
//! unknown tokens if the caller trusts the text. The longest match wins. Everything between them stays text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, Input, MatchKind};

use super::vocabulary::{TokenId, TokenKind, Vocabulary};
use crate::error::ModelError;
use crate::gguf::metadata::Metadata;

/// A piece of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(TokenId),
}

/// Finds special tokens in one pass over a text.
pub(super) struct SpecialTokenFinder {
    user_defined: Option<Finder>,
    all: Option<Finder>,
}

struct Finder {
    automaton: AhoCorasick,
    /// By the automaton's pattern number.
    tokens: Vec<Special>,
}

struct Special {
    id: TokenId,
    /// Whether only trusted text may contain it.
    is_control: bool,
    /// Whether white space after the token is dropped.
    strips_right: bool,
}

impl SpecialTokenFinder {
    /// Errors: there are too many special tokens for an automaton.
    pub(super) fn new(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<SpecialTokenFinder, ModelError> {
        let strips = strips_right(metadata)?;
        let finder = |kinds: &[TokenKind]| Finder::new(vocabulary, kinds, strips);
        Ok(SpecialTokenFinder {
            user_defined: finder(&[TokenKind::UserDefined])?,
            all: finder(&[TokenKind::UserDefined, TokenKind::Control, TokenKind::Unknown])?,
        })
    }

    /// Splits `text` at its special tokens, control tokens only with `parse_special`.
    pub(super) fn partition<'t>(&self, text: &'t str, parse_special: bool) -> Vec<Fragment<'t>> {
        let finder = if parse_special { &self.all } else { &self.user_defined };
        match finder {
            Some(finder) => finder.partition(text),
            None if text.is_empty() => Vec::new(),
            None => vec![Fragment::Text(text)],
        }
    }

    /// Where `text` spells control tokens.
    pub(super) fn controls(&self, text: &str) -> Vec<Range<usize>> {
        let Some(Finder { automaton, tokens }) = &self.all else { return Vec::new() };
        let found = automaton.find_iter(text).filter(|found| tokens[found.pattern().as_usize()].is_control);
        found.map(|found| found.range()).collect()
    }
}

impl Finder {
    /// `None` if no token of these kinds has a text.
    fn new(vocabulary: &Vocabulary, kinds: &[TokenKind], strips: bool) -> Result<Option<Finder>, ModelError> {
        let (mut tokens, mut texts) = (Vec::new(), Vec::new());
        for (id, text, kind) in vocabulary.iter() {
            // Only whole characters may be cut out of a text.
            let Some(text) = str::from_utf8(text).ok().filter(|text| !text.is_empty()) else { continue };
            if kinds.contains(&kind) {
                let is_control = kind != TokenKind::UserDefined;
                tokens.push(Special { id, is_control, strips_right: strips && !KEEP_RIGHT.contains(&text) });
                texts.push(text);
            }
        }
        if texts.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasickBuilder::new().match_kind(MatchKind::LeftmostLongest).build(texts);
        let automaton =
            automaton.map_err(|error| ModelError::Unsupported(format!("{} special tokens: {error}", tokens.len())))?;
        Ok(Some(Finder { automaton, tokens }))
    }

    fn partition<'t>(&self, text: &'t str) -> Vec<Fragment<'t>> {
        let mut fragments = Vec::new();
        let mut rest = text;
        while let Some(found) = self.automaton.find(Input::new(rest)) {
            let special = &self.tokens[found.pattern().as_usize()];
            if found.start() > 0 {
                fragments.push(Fragment::Text(&rest[..found.start()]));
            }
            fragments.push(Fragment::Token(special.id));
            rest = &rest[found.end()..];
            if special.strips_right {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0B');
            }
        }
        if !rest.is_empty() {
            fragments.push(Fragment::Text(rest));
        }
        fragments
    }
}

/// The special tokens of Phi-3 that keep the white space after them.
const KEEP_RIGHT: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// Whether white space after special tokens is dropped. GGUF has no field for it; only Phi-3 needs it and, as in llama.cpp,
/// is recognised by its name.
fn strips_right(metadata: &Metadata) -> Result<bool, ModelError> {
    let name = metadata.string("general.name")?.unwrap_or_default().to_lowercase();
    Ok(name.contains("phi-3") || name.contains("phi3"))
}
