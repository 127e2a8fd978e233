//! The tokenizer as callers see it: [`Tokenizer::encode`] from text to ids, [`Tokenizer::piece`] from an id to bytes.

use std::borrow::Cow;

use super::byte_level::ByteLevel;
use super::byte_table;
use super::partition::{Fragment, SpecialTokenFinder};
use super::pre_tokenizer::PreTokenizer;
use super::sentence_piece::SentencePiece;
use super::special::{SpecialDefaults, SpecialIds};
use super::vocabulary::{TokenId, TokenKind, Vocabulary};
use crate::error::ModelError;
use crate::gguf::metadata::Metadata;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// Behind each character of a text that spells a control token and is none. Unicode keeps it free for programs' own use.
const MARK: char = '\u{FDD0}';

/// Text to token ids and back, for one file.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    special: SpecialIds,
    special_tokens: SpecialTokenFinder,
    algorithm: Algorithm,
}

/// How text between special tokens becomes tokens.
enum Algorithm {
    SentencePiece(SentencePiece),
    ByteLevel(ByteLevel),
}

/// How to read a text; by default as text alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether to put the tokens for the beginning and the end around the text where the file asks for them.
    pub add_special: bool,
    /// Whether the text of a control token, such as `<|im_end|>`, becomes that token: right for a rendered template,
    /// wrong for what a user typed.
    pub parse_special: bool,
}

/// Whether control tokens have a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are empty: what a reader of the output sees.
    Hide,
    /// They are spelled as in the vocabulary.
    Show,
}

impl Tokenizer {
    /// Builds the tokenizer that a file's `tokenizer.ggml.*` keys describe.
    ///
    /// Errors: the vocabulary is missing, empty or contradicts itself, a special id lies outside it, or it is of a kind
    /// other than `llama` and `gpt2`; the message names the key.
    pub fn from_metadata(metadata: &Metadata) -> Result<Tokenizer, ModelError> {
        let model = metadata.string(MODEL)?.ok_or_else(|| ModelError::metadata(MODEL, "is missing"))?;
        let mut vocabulary = Vocabulary::from_metadata(metadata)?;
        let (special, algorithm) = match model {
            "llama" => sentence_piece(metadata, &mut vocabulary)?,
            "gpt2" => byte_level(metadata, &mut vocabulary)?,
            other => {
                let problem = format!("is {other}, which this program does not have; it has llama and gpt2");
                return Err(ModelError::metadata(MODEL, problem));
            }
        };
        let special_tokens = SpecialTokenFinder::new(metadata, &vocabulary)?;
        Ok(Tokenizer { vocabulary, special, special_tokens, algorithm })
    }

    /// The tokens of `text`.
    ///
    /// Panics if a single word of it is longer than 4 GiB.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Vec<TokenId> {
        self.encode_with(text, options, |text| Cow::Borrowed(text))
    }

    /// A text that spells no control token for [`Tokenizer::encode_marked`]: for what somebody says, before a template puts
    /// it between control tokens. Tokens of a single character cannot be told apart and stay.
    pub fn mark<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let (mut marked, mut end) = (String::new(), 0);
        for control in self.special_tokens.controls(text) {
            marked += &text[end..control.start];
            text[control.clone()].chars().for_each(|c| marked.extend([c, MARK]));
            end = control.end;
        }
        if end == 0 { Cow::Borrowed(text) } else { Cow::Owned(marked + &text[end..]) }
    }

    /// A text without the marks of [`Tokenizer::mark`].
    pub fn unmark(text: &str) -> Cow<'_, str> {
        if text.contains(MARK) { Cow::Owned(text.replace(MARK, "")) } else { Cow::Borrowed(text) }
    }

    /// The tokens of a text of which parts are marked: those are read as text, whatever the options.
    ///
    /// Panics as [`Tokenizer::encode`] does.
    pub fn encode_marked(&self, text: &str, options: EncodeOptions) -> Vec<TokenId> {
        self.encode_with(text, options, Tokenizer::unmark)
    }

    fn encode_with(&self, text: &str, options: EncodeOptions, read: fn(&str) -> Cow<'_, str>) -> Vec<TokenId> {
        let mut tokens = Vec::with_capacity(2 + text.len() / 4);
        tokens.extend(self.special.prefix.filter(|_| options.add_special));
        let mut after_special = true;
        for fragment in self.special_tokens.partition(text, options.parse_special) {
            match fragment {
                Fragment::Token(id) => tokens.push(id),
                Fragment::Text(text) => self.encode_text(&read(text), after_special, &mut tokens),
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        tokens.extend(self.special.suffix.filter(|_| options.add_special));
        tokens
    }

    fn encode_text(&self, text: &str, after_special: bool, tokens: &mut Vec<TokenId>) {
        match &self.algorithm {
            Algorithm::SentencePiece(rules) => rules.encode(&self.vocabulary, text, after_special, tokens),
            Algorithm::ByteLevel(rules) => rules.encode(&self.vocabulary, text, tokens),
        }
    }

    /// The bytes that a token adds to a text, which need not be whole characters; none past the end of the vocabulary.
    pub fn piece(&self, id: TokenId, special: SpecialTokens) -> Cow<'_, [u8]> {
        let text = self.vocabulary.text(id);
        match self.vocabulary.kind(id) {
            TokenKind::Control | TokenKind::Unknown if special == SpecialTokens::Hide => Cow::Borrowed(&[]),
            TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined => Cow::Borrowed(text),
            TokenKind::Byte => Vocabulary::byte_of(text),
            TokenKind::Text => match self.algorithm {
                Algorithm::SentencePiece(_) => SentencePiece::bytes_of(text),
                Algorithm::ByteLevel(_) => byte_table::bytes_of(text),
            },
        }
    }

    /// The number of tokens.
    pub fn vocab_len(&self) -> usize {
        self.vocabulary.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<TokenId> {
        self.special.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<TokenId> {
        self.special.eos
    }

    /// Whether the model says with this token that it is done: the end of a text, of a turn or of a message.
    pub fn is_end_of_generation(&self, id: TokenId) -> bool {
        self.special.is_end(id)
    }

    /// A token as the vocabulary spells it, for templates and for people; empty past the end of the vocabulary.
    pub fn token_text(&self, id: TokenId) -> Cow<'_, str> {
        String::from_utf8_lossy(self.vocabulary.text(id))
    }

    /// The way words are cut, by the name that GGUF files use; none for a SentencePiece vocabulary, which needs none.
    pub fn pre_tokenizer(&self) -> Option<&'static str> {
        match &self.algorithm {
            Algorithm::SentencePiece(_) => None,
            Algorithm::ByteLevel(rules) => Some(rules.pre_tokenizer.name()),
        }
    }
}

/// The ids that a `llama` file need not state are those of Llama itself.
fn sentence_piece(metadata: &Metadata, vocabulary: &mut Vocabulary) -> Result<(SpecialIds, Algorithm), ModelError> {
    let defaults = SpecialDefaults { bos: Some(1), eos: Some(2), unknown: Some(0), add_bos: true };
    let special = SpecialIds::from_metadata(metadata, vocabulary, defaults)?;
    let rules = SentencePiece::new(metadata, vocabulary, special.unknown)?;
    Ok((special, Algorithm::SentencePiece(rules)))
}

fn byte_level(metadata: &Metadata, vocabulary: &mut Vocabulary) -> Result<(SpecialIds, Algorithm), ModelError> {
    let pre_tokenizer = PreTokenizer::new(metadata.string(PRE)?)?;
    let defaults = SpecialDefaults { add_bos: pre_tokenizer.row.add_bos, ..SpecialDefaults::default() };
    let special = SpecialIds::from_metadata(metadata, vocabulary, defaults)?;
    let rules = ByteLevel::new(metadata, vocabulary, pre_tokenizer)?;
    Ok((special, Algorithm::ByteLevel(rules)))
}
