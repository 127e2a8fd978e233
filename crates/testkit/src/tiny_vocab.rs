//! Vocabularies for tiny models that can encode and decode any text.
//!
//! [`Vocabulary`] is byte-level BPE as in GPT-2 or SentencePiece BPE as in Llama 2. Both have every byte, a few merged
//! pieces and the special tokens of a chat; the ids above those, up to the model's vocabulary size, are unused.

use crate::gguf_writer::GgufWriter;

/// The token types of `tokenizer.ggml.token_type`.
mod token_type {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// A ChatML template; both vocabularies have its special tokens.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
    message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The merges of byte-level BPE in order; `Ġ` is the space.
const MERGES: [&str; 16] = [
    "Ġ t", "h e", "Ġt he", "i n", "e r", "a n", "Ġ a", "o n", "r e", "n d", "Ġa nd", "o u", "in g", "l l", "e ll",
    "he ll",
];

/// The pieces of the SentencePiece vocabulary besides bytes and letters, best score first; `▁` is the space.
const PIECES: [&str; 10] = ["▁t", "he", "▁the", "in", "er", "an", "▁a", "ll", "ell", "hell"];

/// The special tokens of a chat; SentencePiece files put them last as well.
const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// The tokenizer of a tiny model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// `gpt2`: byte-level BPE with merges; the end-of-text token is also BOS.
    ByteBpe,
    /// `llama`: SentencePiece BPE with scores and byte fallback; `<s>` and `</s>` are ids 1 and 2.
    SentencePiece,
}

struct Token {
    text: String,
    token_type: i32,
    score: f32,
}

impl Vocabulary {
    /// Adds the tokenizer's metadata for `n_vocab` ids to `file`.
    ///
    /// Panics if `n_vocab` is too small for the bytes, pieces and specials.
    pub(crate) fn describe(self, file: GgufWriter, n_vocab: usize) -> GgufWriter {
        let mut tokens = self.tokens();
        assert!(n_vocab >= tokens.len(), "{self:?} needs n_vocab of at least {}, not {n_vocab}", tokens.len());
        for id in tokens.len()..n_vocab {
            tokens.push(token(&format!("<unused{id}>"), token_type::UNUSED, 0.0));
        }
        let id = |text: &str| {
            tokens.iter().position(|t| t.text == text).expect("the vocabulary has the special tokens") as u32
        };
        let file = match self {
            Vocabulary::ByteBpe => file
                .kv("tokenizer.ggml.model", "gpt2")
                .kv("tokenizer.ggml.pre", "default")
                .kv("tokenizer.ggml.merges", MERGES.to_vec())
                .kv("tokenizer.ggml.bos_token_id", id("<|endoftext|>"))
                .kv("tokenizer.ggml.eos_token_id", id("<|im_end|>"))
                .kv("tokenizer.ggml.padding_token_id", id("<|endoftext|>"))
                .kv("tokenizer.ggml.add_bos_token", false),
            Vocabulary::SentencePiece => file
                .kv("tokenizer.ggml.model", "llama")
                .kv("tokenizer.ggml.pre", "default")
                .kv("tokenizer.ggml.scores", tokens.iter().map(|t| t.score).collect::<Vec<_>>())
                .kv("tokenizer.ggml.bos_token_id", id("<s>"))
                .kv("tokenizer.ggml.eos_token_id", id("</s>"))
                .kv("tokenizer.ggml.unknown_token_id", id("<unk>"))
                .kv("tokenizer.ggml.add_bos_token", true)
                .kv("tokenizer.ggml.add_space_prefix", true),
        };
        file.kv("tokenizer.ggml.add_eos_token", false)
            .kv("tokenizer.ggml.token_type", tokens.iter().map(|t| t.token_type).collect::<Vec<_>>())
            .kv("tokenizer.ggml.tokens", tokens.into_iter().map(|t| t.text).collect::<Vec<_>>())
    }

    fn tokens(self) -> Vec<Token> {
        let mut tokens: Vec<Token> = match self {
            Vocabulary::ByteBpe => {
                let bytes = (0..=255).map(|byte| byte_as_char(byte).to_string());
                let merged = MERGES.iter().map(|pair| pair.replace(' ', ""));
                bytes.chain(merged).map(|text| token(&text, token_type::NORMAL, 0.0)).collect()
            }
            Vocabulary::SentencePiece => sentence_pieces(),
        };
        tokens.extend(SPECIALS.iter().map(|text| token(text, token_type::CONTROL, 0.0)));
        tokens
    }
}

fn sentence_pieces() -> Vec<Token> {
    let mut tokens = vec![
        token("<unk>", token_type::UNKNOWN, 0.0),
        token("<s>", token_type::CONTROL, 0.0),
        token("</s>", token_type::CONTROL, 0.0),
    ];
    tokens.extend((0..=255u8).map(|byte| token(&format!("<0x{byte:02X}>"), token_type::BYTE, 0.0)));
    let letters = std::iter::once('▁').chain('a'..='z').map(String::from);
    let pieces = PIECES.iter().map(ToString::to_string).chain(letters).zip(0u8..);
    tokens.extend(pieces.map(|(text, rank)| token(&text, token_type::NORMAL, -f32::from(rank))));
    tokens
}

fn token(text: &str, token_type: i32, score: f32) -> Token {
    Token { text: text.to_owned(), token_type, score }
}

/// The character of a byte in GPT-2's vocabulary: itself if printable in Latin-1, else the next free one from U+0100 on.
/// Source: `bytes_to_unicode` of the GPT-2 release.
fn byte_as_char(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if prints(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !prints(b)).count() as u32;
    char::from_u32(0x100 + rank).expect("68 characters from U+0100 on exist")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn bytes_map_to_the_characters_of_gpt2() {
        assert_eq!([b' ', b'\n', b'a', 0, 0xAD, 0xFF].map(byte_as_char), ['Ġ', 'Ċ', 'a', 'Ā', 'Ń', 'ÿ']);
    }

    #[test]
    fn no_token_occurs_twice_and_each_merge_joins_tokens() {
        for vocabulary in [Vocabulary::ByteBpe, Vocabulary::SentencePiece] {
            let tokens = vocabulary.tokens();
            let texts: HashSet<&str> = tokens.iter().map(|t| t.text.as_str()).collect();
            assert_eq!(texts.len(), tokens.len());
            if vocabulary == Vocabulary::ByteBpe {
                assert!(MERGES.iter().all(|pair| pair.split(' ').all(|part| texts.contains(part))));
            }
        }
    }

    #[test]
    #[should_panic(expected = "n_vocab of at least")]
    fn a_vocabulary_too_small_for_its_bytes_panics() {
        Vocabulary::ByteBpe.describe(GgufWriter::new(), 64);
    }
}
