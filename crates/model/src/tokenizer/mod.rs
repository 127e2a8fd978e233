//! Text to token ids and back, as a file's `tokenizer.ggml.*` metadata prescribes.
//!
//! [`Tokenizer`] is the entry point: a [`vocabulary`] of token texts and kinds, the [`special`] ids, a [`partition`] that
//! cuts special tokens out of the text, and one of two algorithms for the text between them: [`sentence_piece`]
//! (`llama`) or [`byte_level`] BPE (`gpt2`), which first splits words with a [`pre_tokenizer`]. Both merge neighbours in a
//! [`merge_chain`]. [`TextDecoder`] turns the bytes of a token stream into characters.
//!
//! The oracle is llama.cpp: the same ids for the same text. Deliberately absent: normalisation, other kinds of vocabulary
//! (WordPiece, Unigram, RWKV) and training.

mod byte_level;
mod byte_table;
mod codec;
mod merge_chain;
mod partition;
mod pre_tokenizer;
mod sentence_piece;
mod special;
mod text_decoder;
mod vocabulary;
mod word_memory;

pub use codec::{EncodeOptions, SpecialTokens, Tokenizer};
pub use text_decoder::TextDecoder;
pub use vocabulary::TokenId;
