//! Vocabularies in a GGUF header, and a text through the tokenizer that they make.

use model::gguf::Gguf;
use model::{EncodeOptions, SpecialTokens, Tokenizer};
use testkit::{GgufWriter, TinySpec};

use crate::messages::checked;

/// Spaces, digits, a contraction, characters of two to four bytes, a control token's name.
const TEXT: &str = "It's  12345\r\n\tπ €\u{1f600}<s> ▁a";

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bpe = |pre: &str| {
        GgufWriter::new()
            .kv("tokenizer.ggml.model", "gpt2")
            .kv("tokenizer.ggml.pre", pre)
            .kv("tokenizer.ggml.tokens", vec!["a", "b", "ab", "Ġ", "Ġab", "<s>", "1", "2", "12"])
            .kv("tokenizer.ggml.token_type", vec![1i32, 1, 1, 1, 1, 3, 1, 1, 1])
            .kv("tokenizer.ggml.merges", vec!["a b", "Ġ ab", "1 2"])
            .kv("tokenizer.ggml.bos_token_id", 5u32)
            .to_bytes()
    };
    let sentence_piece = GgufWriter::new()
        .kv("tokenizer.ggml.model", "llama")
        .kv("tokenizer.ggml.tokens", vec!["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "▁a"])
        .kv("tokenizer.ggml.scores", vec![0.0f32, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0])
        .kv("tokenizer.ggml.token_type", vec![2i32, 3, 3, 6, 1, 1, 1])
        .kv("tokenizer.ggml.add_bos_token", true)
        .to_bytes();
    let tiny = TinySpec::from_line("llama layers=1").build().gguf_bytes();
    [sentence_piece, tiny].into_iter().chain(["gpt-2", "llama-bpe", "qwen2"].map(bpe)).collect()
}

pub(crate) fn run(input: &[u8]) {
    let Some(gguf) = checked(Gguf::parse(input, input.len() as u64)) else { return };
    let Some(tokenizer) = checked(Tokenizer::from_metadata(gguf.metadata())) else { return };
    for parse_special in [false, true] {
        for token in tokenizer.encode(TEXT, EncodeOptions { add_special: true, parse_special }) {
            assert!((token as usize) < tokenizer.vocab_len(), "token {token} of {}", tokenizer.vocab_len());
            tokenizer.piece(token, SpecialTokens::Show);
            tokenizer.token_text(token);
        }
    }
}
