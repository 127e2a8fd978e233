//! Byte-level BPE: a ranked list of merges over the bytes of a word.
//!
//! [`ByteLevel`] splits text into words, starts with one token per byte and merges pairs of tokens, so no text is looked up
//! while merging. A word that is itself a token becomes it without merging, for models trained this way. Bytes without a
//! token are dropped, as in llama.cpp; complete vocabularies have all 256.

use hashbrown::HashMap;

use super::byte_table::char_of;
use super::merge_chain::{ABSENT, Merge, MergeChain};
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::{TokenId, Vocabulary};
use super::word_memory::WordMemory;
use crate::error::ModelError;
use crate::gguf::metadata::Metadata;

const MERGES: &str = "tokenizer.ggml.merges";

/// The merging rules of a `gpt2` vocabulary.
pub(super) struct ByteLevel {
    pub(super) pre_tokenizer: PreTokenizer,
    merges: HashMap<[TokenId; 2], Joined>,
    bytes: Vec<TokenId>,
}

/// The token that a pair merges into.
struct Joined {
    rank: u32,
    token: TokenId,
}

impl ByteLevel {
    /// Ignores merges of texts that are not tokens.
    ///
    /// Errors: the file has no merges.
    pub(super) fn new(
        metadata: &Metadata,
        vocabulary: &Vocabulary,
        pre_tokenizer: PreTokenizer,
    ) -> Result<ByteLevel, ModelError> {
        let texts = metadata.strings(MERGES)?.ok_or_else(|| ModelError::metadata(MERGES, "is missing"))?;
        let mut merges = HashMap::with_capacity(texts.len());
        let mut text = Vec::new();
        for (rank, merge) in (0..).zip(texts.iter()) {
            if let Some((pair, token)) = resolve(vocabulary, merge, &mut text) {
                merges.entry(pair).or_insert(Joined { rank, token });
            }
        }
        let byte = |byte| vocabulary.ordinary_id(char_of(byte).encode_utf8(&mut [0; 4]).as_bytes());
        let bytes = (0..=u8::MAX).map(|b| byte(b).unwrap_or(ABSENT)).collect();
        Ok(ByteLevel { pre_tokenizer, merges, bytes })
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &str, out: &mut Vec<TokenId>) {
        let mut chain = MergeChain::default();
        let mut memory = WordMemory::new(text.len());
        self.pre_tokenizer.split(text, &mut |word| {
            memory.append(word, out, |word, out| match self.whole(vocabulary, word) {
                Some(token) => out.push(token),
                None => self.encode_word(word, &mut chain, out),
            });
        });
    }

    /// The token that spells all of `word`, if the model takes such tokens without merging.
    fn whole(&self, vocabulary: &Vocabulary, word: &str) -> Option<TokenId> {
        if !self.pre_tokenizer.row.whole_words {
            return None;
        }
        let spelled: String = word.bytes().map(char_of).collect();
        vocabulary.ordinary_id(spelled.as_bytes())
    }

    fn encode_word(&self, word: &str, chain: &mut MergeChain, out: &mut Vec<TokenId>) {
        chain.clear();
        for byte in word.bytes() {
            chain.push(1, self.bytes[usize::from(byte)]);
        }
        chain.merge(|left, right| {
            let &Joined { rank, token } = self.merges.get(&[left.token, right.token])?;
            Some(Merge { order: rank, token })
        });
        out.extend(chain.symbols().map(|symbol| symbol.token).filter(|&token| token != ABSENT));
    }
}

/// The two tokens that a merge such as `Ġ t` joins, and the result. The first character may itself be a space.
fn resolve(vocabulary: &Vocabulary, merge: &[u8], text: &mut Vec<u8>) -> Option<([TokenId; 2], TokenId)> {
    let space = 1 + merge.get(1..)?.iter().position(|&byte| byte == b' ')?;
    let (left, right) = (&merge[..space], &merge[space + 1..]);
    text.clear();
    text.extend_from_slice(left);
    text.extend_from_slice(right);
    let pair = [vocabulary.ordinary_id(left)?, vocabulary.ordinary_id(right)?];
    Some((pair, vocabulary.ordinary_id(text)?))
}
