//! Inconsistent vocabularies give an error that names the key, or a tokenizer that works; never a panic.

use model::gguf::{Array, Metadata, Value};
use model::{EncodeOptions, ModelError, SpecialTokens, TokenId, Tokenizer};
use proptest::prelude::*;

use crate::fixtures::{PLAIN, build, byte_level, changed, sentence_piece, strings, text, without};

fn right() -> Metadata {
    sentence_piece(&[("<unk>", 2), ("<s>", 3), ("</s>", 3), ("▁", 1), ("a", 1)])
}

/// The key and the problem of the error.
fn error(metadata: &Metadata) -> (String, String) {
    match Tokenizer::from_metadata(metadata) {
        Err(ModelError::Metadata { key, problem }) => (key, problem),
        Err(other) => panic!("an error without a key: {other}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn what_is_missing_is_named() {
    for key in ["tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.scores"] {
        assert_eq!(error(&without(&right(), key)), (key.to_owned(), "is missing".to_owned()));
    }
    let merges = "tokenizer.ggml.merges";
    assert_eq!(error(&without(&byte_level(&[("a", 1)], &[]), merges)).0, merges);
}

#[test]
fn other_tokenizers_are_refused_by_name() {
    let (key, problem) = error(&changed(&right(), &[("tokenizer.ggml.model", text("t5"))]));
    assert_eq!(key, "tokenizer.ggml.model");
    assert!(problem.contains("t5") && problem.contains("gpt2"), "{problem}");
}

#[test]
fn arrays_must_agree_with_the_tokens() {
    for (key, value) in [
        ("tokenizer.ggml.scores", Array::F32(vec![0.0; 4])),
        ("tokenizer.ggml.scores", Array::F32(vec![0.0; 6])),
        ("tokenizer.ggml.scores", Array::F64(vec![0.0; 5])),
        ("tokenizer.ggml.token_type", Array::I32(vec![1; 6])),
        ("tokenizer.ggml.token_type", Array::I32(vec![])),
        ("tokenizer.ggml.token_type", Array::Bool(vec![true; 5])),
        ("tokenizer.ggml.tokens", Array::I32(vec![1; 5])),
        ("tokenizer.ggml.merges", Array::U8(vec![1])),
    ] {
        let merged = byte_level(&[("a", 1); 5], &[]);
        let metadata = if key.ends_with("merges") { &merged } else { &right() };
        assert_eq!(error(&changed(metadata, &[(key, Value::Array(value))])).0, key);
    }
    assert!(error(&sentence_piece(&[])).1.contains("no tokens"));
}

#[test]
fn special_ids_lie_in_the_vocabulary() {
    for key in ["bos", "eos", "unknown", "eot", "eom"].map(|name| format!("tokenizer.ggml.{name}_token_id")) {
        for number in [Value::U32(5), Value::U32(u32::MAX), Value::U64(u64::MAX), Value::I32(-1), text("1")] {
            assert_eq!(error(&changed(&right(), &[(&key, number)])).0, key);
        }
        build(&changed(&right(), &[(&key, Value::U8(4))]));
    }
}

#[test]
fn a_token_to_add_must_be_named() {
    for name in ["bos", "eos"] {
        let add = format!("tokenizer.ggml.add_{name}_token");
        let metadata = changed(&byte_level(&[("a", 1)], &[]), &[(&add, Value::Bool(true))]);
        assert_eq!(error(&metadata).0, format!("tokenizer.ggml.{name}_token_id"));
        assert_eq!(error(&changed(&metadata, &[(&add, Value::U8(1))])).0, add);
    }
}

#[test]
fn a_vocabulary_too_small_for_the_default_ids_has_none() {
    let tokenizer = build(&sentence_piece(&[("a", 1)]));
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (None, None));
    let around = EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode("a", around), [0, 0], "the unknown token, id 0, stands for the space");
}

#[test]
fn odd_tokens_and_merges_do_no_harm() {
    let merges = ["a", "", " ", "a a", "a nobody", "nobody a", " a", "a  a", "a b", "a b", "\u{7f}", "a b c"];
    let tokenizer =
        build(&byte_level(&[("", 1), ("a", 1), ("a", 1), ("b", 1), ("ab", 1), ("", 3), ("x", 99)], &merges));
    assert_eq!(tokenizer.encode("abba", PLAIN), [4, 3, 1]);
    assert_eq!(tokenizer.encode("a?b", PLAIN), [1, 3], "a byte without a token disappears");
    let invalid = changed(
        &byte_level(&[], &[]),
        &[
            ("tokenizer.ggml.tokens", strings([&b"\xC3"[..], b"\xFF\xA9", b"a"])),
            ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![4, 3, 4]))),
        ],
    );
    assert_eq!(build(&invalid).encode("éa", PLAIN), [2], "half a character is no special token");
}

#[test]
fn without_types_all_is_text() {
    let tokenizer = build(&without(&right(), "tokenizer.ggml.token_type"));
    assert_eq!(tokenizer.piece(0, SpecialTokens::Hide).as_ref(), b"<unk>");
}

proptest! {
    #[test]
    fn no_vocabulary_makes_it_panic(
        tokens in proptest::collection::vec(("[a▁Ġ<0x1>]{0,4}", -1i32..8), 0..24),
        scores in proptest::collection::vec(any::<f32>(), 24),
        merges in proptest::collection::vec("[a▁Ġ<0 ]{0,5}", 0..12),
        pre in proptest::sample::select(vec!["default", "llama3", "qwen2", "smollm", "odd"]),
        written in "[a▁Ġ<0x1> é\n]{0,24}",
    ) {
        let tokens: Vec<(&str, i32)> = tokens.iter().map(|(text, kind)| (text.as_str(), *kind)).collect();
        let scores = Value::Array(Array::F32(scores[..tokens.len()].to_vec()));
        let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
        for metadata in [
            changed(&sentence_piece(&tokens), &[("tokenizer.ggml.scores", scores)]),
            changed(&byte_level(&tokens, &merges), &[("tokenizer.ggml.pre", text(pre))]),
        ] {
            let Ok(tokenizer) = Tokenizer::from_metadata(&metadata) else {
                prop_assert!(tokens.is_empty());
                continue;
            };
            for parse_special in [false, true] {
                let ids = tokenizer.encode(&written, EncodeOptions { add_special: true, parse_special });
                prop_assert!(ids.iter().all(|&id| (id as usize) < tokens.len()));
                ids.iter().for_each(|&id: &TokenId| drop(tokenizer.piece(id, SpecialTokens::Show)));
            }
        }
    }
}
