//! [`Tokenizer`]: [`encode`](Tokenizer::encode) converts text to ids, [`piece`](Tokenizer::piece) an id to bytes.

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

/// Follows each character of a text that spells a control token but must not become it. Unicode reserves this character
/// for internal use.
const MARK: char = '\u{FDD0}';

/// Converts text to token ids and back, for one file.
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

/// How to encode a text; by default as plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether to add the BOS and EOS tokens that the file asks for.
    pub add_special: bool,
    /// Whether the text of a control token, such as `<|im_end|>`, becomes that token: right for a rendered template,
    /// wrong for user input.
    pub parse_special: bool,
}

/// Whether control tokens are visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are empty, as in output for users.
    Hide,
    /// They are spelled as in the vocabulary.
    Show,
}

impl Tokenizer {
    /// Builds the tokenizer that a file's `tokenizer.ggml.*` keys describe.
    ///
    /// Errors: the vocabulary is missing, empty, inconsistent, or of a kind other than `llama` and `gpt2`, or a special id
    /// is out of range; the message names the key.
    pub fn from_metadata(metadata: &Metadata) -> Result<Tokenizer, ModelError> {
        let model = metadata.string(MODEL)?.ok_or_else(|| ModelError::metadata(MODEL, "is missing"))?;
        let mut vocabulary = Vocabulary::from_metadata(metadata)?;
        let (special, algorithm) = match model {
            "llama" => sentence_piece(metadata, &mut vocabulary)?,
            "gpt2" => byte_level(metadata, &mut vocabulary)?,
            other => {
                let problem = format!("{other} is not supported (only llama and gpt2 are)");
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

    /// Marks the control tokens that `text` spells, so that [`Tokenizer::encode_marked`] reads them as text: for messages,
    /// before a template puts them between control tokens. Control tokens of a single character cannot be marked.
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

    /// The tokens of a text with marked parts, which are read as text whatever the options.
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

    /// The bytes that a token stands for, which need not be whole characters; empty if the id is out of range.
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

    /// Whether this token ends the generation: the end of a text, of a turn or of a message.
    pub fn is_end_of_generation(&self, id: TokenId) -> bool {
        self.special.is_end(id)
    }

    /// A token as the vocabulary spells it, for templates and display; empty if the id is out of range.
    pub fn token_text(&self, id: TokenId) -> Cow<'_, str> {
        String::from_utf8_lossy(self.vocabulary.text(id))
    }

    /// The pre-tokenizer's name in GGUF files; `None` for SentencePiece, which needs none.
    pub fn pre_tokenizer(&self) -> Option<&'static str> {
        match &self.algorithm {
            Algorithm::SentencePiece(_) => None,
            Algorithm::ByteLevel(rules) => Some(rules.pre_tokenizer.name()),
        }
    }
}

/// Special ids that a `llama` file leaves out default to Llama's.
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
