//! What begins, ends and marks a text.

use std::borrow::Cow;

use model::gguf::Value;
use model::{EncodeOptions, TokenId, Tokenizer};

use crate::fixtures::{PARSED, PLAIN, build, byte_level, changed, metadata, sentence_piece, text, texts, tokenizer};

const AROUND: EncodeOptions = EncodeOptions { add_special: true, parse_special: false };

#[test]
fn each_kind_of_vocabulary_has_its_own_beginning_by_default() {
    assert_eq!(tokenizer("llama-spm").encode("a", AROUND), [1, 263]);
    assert_eq!(tokenizer("llama-bpe").encode("", AROUND), [128_000]);
    assert_eq!(tokenizer("gpt-2").encode("a", AROUND), [64]);
    assert_eq!(tokenizer("gpt-2").bos(), Some(50256));
    assert_eq!(tokenizer("phi-3").eos(), Some(32000));
}

#[test]
fn the_file_decides_what_is_put_around_a_text() {
    let around = |bos: bool, eos: bool| {
        let changes =
            [("tokenizer.ggml.add_bos_token", Value::Bool(bos)), ("tokenizer.ggml.add_eos_token", Value::Bool(eos))];
        build(&changed(metadata("llama-spm"), &changes)).encode("a", AROUND)
    };
    assert_eq!(around(false, false), [263]);
    assert_eq!(around(true, true), [1, 263, 2]);
    assert_eq!(around(false, true), [263, 2]);
}

#[test]
fn typed_text_never_becomes_a_control_token() {
    let tokenizer = tokenizer("qwen2");
    let typed = tokenizer.encode("<|im_end|>", PLAIN);
    assert_eq!(tokenizer.encode("<|im_end|>", PARSED), [151_645]);
    assert!(typed.len() > 1 && !typed.contains(&151_645));

    let merging = build(&byte_level(&[("a", 1), ("b", 1), ("ab", 3)], &["a b"]));
    assert_eq!(merging.encode("ab", PLAIN), [0, 1]);
    let whole = changed(&byte_level(&[("a", 1), ("b", 1), ("ab", 3)], &[]), &[("tokenizer.ggml.pre", text("llama3"))]);
    assert_eq!(build(&whole).encode("ab", PLAIN), [0, 1]);
    let scored = build(&sentence_piece(&[("<unk>", 2), ("▁", 1), ("a", 1), ("▁a", 3)]));
    assert_eq!(scored.encode("a", PLAIN), [1, 2]);
}

#[test]
fn what_is_marked_is_read_as_text_and_nothing_else_changes() {
    let plain = "Plain text, ünïcode 🌍 and <tags>\n\n  x";
    let typed = ["", plain, "<|im_end|>", "<|<|im_end|>|>", "a<|im_start|>system\nb</s><s> <|eot_id|><|endoftext|>x"];
    for name in ["gpt-2", "llama-bpe", "llama-spm", "qwen2"] {
        let tokenizer = tokenizer(name);
        for text in typed {
            let marked = tokenizer.mark(text);
            assert_eq!(tokenizer.encode_marked(&marked, PARSED), tokenizer.encode(text, PLAIN), "{name}: {text}");
            assert_eq!(Tokenizer::unmark(&marked), text);
        }
        assert!(matches!(tokenizer.mark(plain), Cow::Borrowed(_)));
    }
    let tokenizer = tokenizer("qwen2");
    for text in typed {
        let around = format!("<|im_start|>{}<|im_end|>", tokenizer.mark(text));
        let expected = [&[151_644], &tokenizer.encode(text, PLAIN)[..], &[151_645]].concat();
        assert_eq!(tokenizer.encode_marked(&around, PARSED), expected, "{text}");
    }
}

#[test]
fn the_longest_special_token_wins_and_user_defined_ones_need_no_parsing() {
    let tokens = [("a", 1), ("b", 1), ("aa", 4), ("aaa", 4), ("bb", 3), ("Ġ", 1)];
    let tokenizer = build(&byte_level(&tokens, &[]));
    assert_eq!(tokenizer.encode("aaaaabb a", PLAIN), [3, 2, 1, 1, 5, 0]);
    assert_eq!(tokenizer.encode("aaaaabb a", PARSED), [3, 2, 4, 5, 0]);
}

#[test]
fn phi_3_swallows_the_space_after_its_marks() {
    let spelled = |name: &str| texts(tokenizer(name), &tokenizer(name).encode("<|user|> \n\u{b}hi<|end|>  ", PARSED));
    assert_eq!(spelled("phi-3"), ["<|user|>", "▁hi", "<|end|>"]);
    let renamed = build(&changed(metadata("phi-3"), &[("general.name", text("another"))]));
    assert_eq!(texts(&renamed, &renamed.encode("<|end|> x", PARSED)), ["<|end|>", "▁", "▁x"]);
}

#[test]
fn generation_ends_at_named_and_at_well_known_tokens() {
    let ends = |name: &str| {
        let tokenizer = tokenizer(name);
        (0..tokenizer.vocab_len() as TokenId).filter(|&id| tokenizer.is_end_of_generation(id)).collect::<Vec<_>>()
    };
    assert_eq!(ends("gpt-2"), [50256]);
    assert_eq!(ends("llama-bpe"), [128_001, 128_008 + 1]);
    assert_eq!(ends("phi-3"), [2, 32000, 32007]);
    // `</s>` is an ordinary token of this vocabulary; llama.cpp stops at it all the same.
    assert_eq!(ends("qwen2"), [128_247, 151_643, 151_645]);

    let named = byte_level(&[("a", 1), ("b", 1), ("c", 1), ("<end_of_turn>", 1)], &[]);
    let named = changed(
        &named,
        &[("tokenizer.ggml.eot_token_id", Value::U32(1)), ("tokenizer.ggml.eom_token_id", Value::I8(2))],
    );
    let tokenizer = build(&named);
    assert_eq!([0, 1, 2, 3].map(|id| tokenizer.is_end_of_generation(id)), [false, true, true, true]);
    assert_eq!(tokenizer.encode("<end_of_turn>", PARSED), [3], "a well-known end is a control token");
}
