//! The tokens of a file: their texts and kinds, and the lookup of ids by text.
//!
//! [`Vocabulary`] copies the texts from the metadata into one buffer and looks up ids in a hash table of bare ids, so that
//! 150k tokens take a few megabytes. Texts are the bytes in the file: byte-level BPE spells every byte as a character,
//! SentencePiece a space as `▁`, which is up to the two algorithms.
//!
//! If several tokens have the same text, lookups find the first. Empty texts are never found.

use std::borrow::Cow;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::error::ModelError;
use crate::gguf::metadata::Metadata;
use crate::gguf::value::{Array, StringArray};

/// The index of a token in the vocabulary, and of its row in the embedding matrix.
pub type TokenId = u32;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";

/// The kind of a token, the file's `token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Text, and the default.
    Text,
    /// Stands for text that the vocabulary cannot spell.
    Unknown,
    /// A marker for the model, such as the end of a turn; text becomes it only when special tokens are parsed.
    Control,
    /// Added to a trained vocabulary; cut out of the text before tokenization.
    UserDefined,
    /// One byte, spelled `<0xNN>`.
    Byte,
}

/// All tokens of a file.
pub(super) struct Vocabulary {
    texts: StringArray,
    kinds: Vec<TokenKind>,
    ids: HashTable<TokenId>,
    hasher: DefaultHashBuilder,
}

impl Vocabulary {
    /// Errors: there are no tokens, or not one token type per token.
    pub(super) fn from_metadata(metadata: &Metadata) -> Result<Vocabulary, ModelError> {
        let texts = metadata.strings(TOKENS)?.ok_or_else(|| ModelError::metadata(TOKENS, "is missing"))?.clone();
        if texts.is_empty() {
            return Err(ModelError::metadata(TOKENS, "has no tokens"));
        }
        let kinds = kinds(metadata, texts.len())?;
        let hasher = DefaultHashBuilder::default();
        let mut ids = HashTable::with_capacity(texts.len());
        for (id, text) in (0..).zip(texts.iter()).filter(|(_, text)| !text.is_empty()) {
            let hash = hasher.hash_one(text);
            let same = |&other: &TokenId| texts.get(other as usize) == text;
            ids.entry(hash, same, |&other| hasher.hash_one(texts.get(other as usize))).or_insert(id);
        }
        Ok(Vocabulary { texts, kinds, ids, hasher })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The raw text of a token; empty if the id is out of range.
    pub(super) fn text(&self, id: TokenId) -> &[u8] {
        if (id as usize) < self.len() { self.texts.get(id as usize) } else { &[] }
    }

    /// The kind of a token; text if the id is out of range.
    pub(super) fn kind(&self, id: TokenId) -> TokenKind {
        self.kinds.get(id as usize).copied().unwrap_or(TokenKind::Text)
    }

    pub(super) fn set_kind(&mut self, id: TokenId, kind: TokenKind) {
        self.kinds[id as usize] = kind;
    }

    /// Every token in order, with its raw text and kind.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TokenId, &[u8], TokenKind)> {
        (0..).zip(self.texts.iter()).zip(&self.kinds).map(|((id, text), &kind)| (id, text, kind))
    }

    /// The token with this raw text, of any kind.
    pub(super) fn id(&self, text: &[u8]) -> Option<TokenId> {
        self.ids.find(self.hasher.hash_one(text), |&id| self.texts.get(id as usize) == text).copied()
    }

    /// The token that ordinary text may become: never a control, unknown or byte token.
    pub(super) fn ordinary_id(&self, text: &[u8]) -> Option<TokenId> {
        self.id(text).filter(|&id| matches!(self.kind(id), TokenKind::Text | TokenKind::UserDefined))
    }

    /// The token for a byte, spelled `<0xNN>`.
    pub(super) fn byte_id(&self, byte: u8) -> Option<TokenId> {
        self.id(format!("<0x{byte:02X}>").as_bytes())
    }

    /// The byte of a byte token: the inverse of [`Vocabulary::byte_id`], or the text if it is spelled differently.
    pub(super) fn byte_of(text: &[u8]) -> Cow<'_, [u8]> {
        let digits = text.strip_prefix(b"<0x").and_then(|rest| rest.strip_suffix(b">"));
        let digits = digits.filter(|digits| digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        byte.map_or(Cow::Borrowed(text), |byte| Cow::Owned(vec![byte]))
    }
}

fn kinds(metadata: &Metadata, n_tokens: usize) -> Result<Vec<TokenKind>, ModelError> {
    let types = match metadata.array(TOKEN_TYPE)? {
        None => return Ok(vec![TokenKind::Text; n_tokens]),
        Some(Array::I32(types)) => types,
        Some(_) => return Err(ModelError::metadata(TOKEN_TYPE, "is not an array of 32-bit integers")),
    };
    one_per_token(TOKEN_TYPE, types.len(), n_tokens)?;
    Ok(types.iter().map(|&number| kind(number)).collect())
}

/// GGUF's numbering: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
fn kind(number: i32) -> TokenKind {
    match number {
        2 => TokenKind::Unknown,
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        6 => TokenKind::Byte,
        _ => TokenKind::Text,
    }
}

/// Errors: the array under `key` does not have one element per token.
pub(super) fn one_per_token(key: &str, len: usize, n_tokens: usize) -> Result<(), ModelError> {
    if len == n_tokens {
        return Ok(());
    }
    Err(ModelError::metadata(key, format!("has {len} elements, but {TOKENS} has {n_tokens}")))
}
