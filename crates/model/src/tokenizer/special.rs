//! The special ids: BOS, EOS, and the tokens that end a generation.
//!
//! [`SpecialIds`] reads them from the metadata and, as files often name only one end, adds every token whose text is a
//! well-known end. Some files give such tokens the wrong kind, which [`SpecialIds::from_metadata`] corrects. Both lists of
//! texts are llama.cpp's (MIT), so that models stop at the same tokens.

use super::vocabulary::{TokenId, TokenKind, Vocabulary};
use crate::error::ModelError;
use crate::gguf::metadata::Metadata;

const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";

/// Keys of tokens that end a generation. A coding model that starts padding or the next file has finished, too.
const END_KEYS: [&str; 6] = [
    EOS,
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
];

/// Texts of tokens that end a generation, whatever the metadata says, separated by spaces.
const END_TEXTS: &str = "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> \
    <|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <｜end▁of▁sentence｜> <|fim_pad|> \
    <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> <|file_sep|>";

/// Texts of the other tokens that are control tokens, whatever the metadata says: those of fill-in-the-middle.
const CONTROL_TEXTS: &str = "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|fim_suffix|> \
    <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|fim_middle|> <fim-middle> <fim_middle> \
    <｜fim▁end｜> <MID> ▁<MID> <|code_middle|>";

/// Defaults for keys that a file leaves out, per tokenizer.
#[derive(Clone, Copy, Default)]
pub(super) struct SpecialDefaults {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unknown: Option<TokenId>,
    pub(super) add_bos: bool,
}

/// The special ids, each within the vocabulary.
pub(super) struct SpecialIds {
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Option<TokenId>,
    pub(super) unknown: Option<TokenId>,
    /// Added before a text that is encoded with special tokens.
    pub(super) prefix: Option<TokenId>,
    /// Added after it.
    pub(super) suffix: Option<TokenId>,
    /// Sorted.
    ends: Vec<TokenId>,
}

impl SpecialIds {
    /// Also makes the well-known tokens control tokens.
    ///
    /// Errors: an id is out of range, or the file asks for a token to be added without naming it.
    pub(super) fn from_metadata(
        metadata: &Metadata,
        vocabulary: &mut Vocabulary,
        defaults: SpecialDefaults,
    ) -> Result<SpecialIds, ModelError> {
        let or = |id: Option<TokenId>, default: Option<TokenId>| {
            id.or(default.filter(|&default| (default as usize) < vocabulary.len()))
        };
        let bos = or(token_id(metadata, BOS, vocabulary)?, defaults.bos);
        let eos = or(token_id(metadata, EOS, vocabulary)?, defaults.eos);
        let unknown = or(token_id(metadata, UNKNOWN, vocabulary)?, defaults.unknown);
        let prefix = added(metadata, ADD_BOS, defaults.add_bos, BOS, bos)?;
        let suffix = added(metadata, ADD_EOS, false, EOS, eos)?;
        let ends = ends(metadata, vocabulary, eos)?;
        Ok(SpecialIds { bos, eos, unknown, prefix, suffix, ends })
    }

    pub(super) fn is_end(&self, id: TokenId) -> bool {
        self.ends.binary_search(&id).is_ok()
    }
}

/// The id under `key`. Errors: it is out of range.
fn token_id(metadata: &Metadata, key: &str, vocabulary: &Vocabulary) -> Result<Option<TokenId>, ModelError> {
    let Some(number) = metadata.integer(key)? else { return Ok(None) };
    match TokenId::try_from(number) {
        Ok(id) if (id as usize) < vocabulary.len() => Ok(Some(id)),
        _ => Err(ModelError::metadata(
            key,
            format!("token {number} is out of range (vocabulary size {})", vocabulary.len()),
        )),
    }
}

/// The token to add, if any. Errors: the file asks for one that it does not name.
fn added(
    metadata: &Metadata,
    key: &str,
    default: bool,
    id_key: &str,
    id: Option<TokenId>,
) -> Result<Option<TokenId>, ModelError> {
    match metadata.boolean(key)? {
        Some(true) if id.is_none() => Err(ModelError::metadata(id_key, format!("is missing, but {key} is true"))),
        stated => Ok(id.filter(|_| stated.unwrap_or(default))),
    }
}

/// Every token that ends a generation, sorted.
fn ends(metadata: &Metadata, vocabulary: &mut Vocabulary, eos: Option<TokenId>) -> Result<Vec<TokenId>, ModelError> {
    let mut ends = Vec::from_iter(eos);
    for key in END_KEYS {
        ends.extend(token_id(metadata, key, vocabulary)?);
    }
    for text in CONTROL_TEXTS.split(' ').chain(END_TEXTS.split(' ')) {
        if let Some(id) = vocabulary.id(text.as_bytes()) {
            vocabulary.set_kind(id, TokenKind::Control);
        }
    }
    ends.extend(END_TEXTS.split(' ').filter_map(|text| vocabulary.id(text.as_bytes())));
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}
