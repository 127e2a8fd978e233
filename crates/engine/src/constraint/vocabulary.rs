//! The trie of a tokenizer's tokens, over which masks are computed.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};
use model::{SpecialTokens, TokenId, Tokenizer};

use crate::error::EngineError;

/// The trie can hold no longer ones.
const MAX_TOKEN_BYTES: usize = 1000;

/// The trie has 24 bits for an id, and one value of them stands for none.
const MAX_TOKENS: usize = (1 << 24) - 1;

/// The trie of all tokens. Control tokens lie apart behind a byte that no text has: only a grammar that names one meets it.
///
/// Errors: there are more tokens than the trie can tell apart.
pub(super) fn token_env(tokenizer: &Tokenizer) -> Result<TokEnv, EngineError> {
    let n_tokens = tokenizer.vocab_len();
    if n_tokens > MAX_TOKENS {
        let message = format!("the vocabulary has {n_tokens} tokens, and a grammar can be followed over {MAX_TOKENS}");
        return Err(EngineError::Grammar { message });
    }
    let ids = 0..u32::try_from(n_tokens).expect("it is less than 2^24");
    let words: Vec<Vec<u8>> = ids.clone().map(|id| word(tokenizer, id)).collect();
    let mut ends: Vec<TokenId> = ids.clone().filter(|&id| tokenizer.is_end_of_generation(id)).collect();
    // The trie's first end is what others call *the* end of a text.
    ends.sort_by_key(|&id| tokenizer.eos() != Some(id));
    let trie = TokTrie::from(&TokRxInfo::new(ids.end, INVALID_TOKEN), &words);
    let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) };
    // Approximate is how it would cut a text into tokens, which is never asked of it: the model cuts its texts itself.
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// What a token adds to a text; a control token's name behind the marker; nothing for one that is never to be chosen.
fn word(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    let shown = tokenizer.piece(id, SpecialTokens::Show);
    let is_control = tokenizer.piece(id, SpecialTokens::Hide).is_empty();
    if shown.is_empty() || shown.len() > MAX_TOKEN_BYTES {
        Vec::new()
    } else if is_control {
        [&[TokTrie::SPECIAL_TOKEN_MARKER], &*shown].concat()
    } else if shown[0] == TokTrie::SPECIAL_TOKEN_MARKER {
        // The byte is in no UTF-8 text.
        Vec::new()
    } else {
        shown.into_owned()
    }
}
