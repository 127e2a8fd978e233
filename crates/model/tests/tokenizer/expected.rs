//! Recorded ids of llama.cpp, for its own test texts and for unusual ones.

use model::gguf::Value;
use model::{EncodeOptions, TokenId};
use serde_json::Value as Json;

use crate::fixtures::{NAMES, PLAIN, build, changed, data_file, metadata, sentence_piece, tokenizer};

fn ids(line: &str) -> Vec<TokenId> {
    line.split_whitespace().map(|id| id.parse().expect("a number")).collect()
}

#[test]
fn llama_cpp_test_texts_become_exactly_its_ids() {
    let texts = std::fs::read_to_string(data_file("texts.inp")).unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").filter(|text| !text.is_empty()).collect();
    for name in NAMES {
        let expected = std::fs::read_to_string(data_file(&format!("{name}.out"))).unwrap();
        let expected: Vec<Vec<TokenId>> = expected.lines().map(ids).collect();
        assert_eq!(texts.len() + 1, expected.len(), "one text is empty");
        assert!(tokenizer(name).encode("", PLAIN).is_empty());
        for (text, ids) in texts.iter().zip(expected.iter().filter(|ids| !ids.is_empty())) {
            assert_eq!(&tokenizer(name).encode(text, PLAIN), ids, "{name}: {text:?}");
        }
    }
}

#[test]
fn recorded_texts_become_exactly_the_ids_of_llama_cpp() {
    let cases = std::fs::read_to_string(data_file("recorded.jsonl")).unwrap();
    assert!(cases.lines().count() > 90);
    let mut last = (Json::Null, Json::Null, None);
    for case in cases.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()) {
        if (&last.0, &last.1) != (&case["vocabulary"], &case["changes"]) {
            let metadata = changed(metadata(case["vocabulary"].as_str().unwrap()), &changes(&case["changes"]));
            last = (case["vocabulary"].clone(), case["changes"].clone(), Some(build(&metadata)));
        }
        let flag = |key: &str| case[key].as_bool().unwrap();
        let options = EncodeOptions { add_special: flag("add_special"), parse_special: flag("parse_special") };
        let ids = last.2.as_ref().unwrap().encode(case["text"].as_str().unwrap(), options);
        assert_eq!(serde_json::json!(ids), case["ids"], "{case}");
    }
}

#[test]
fn a_sentence_piece_may_reach_across_words() {
    let no_prefix = [("tokenizer.ggml.add_space_prefix", Value::Bool(false))];
    let tokens = [("▁", 1), ("a", 1), ("b", 1), ("a▁", 1), ("a▁b", 1)];
    assert_eq!(build(&changed(&sentence_piece(&tokens), &no_prefix)).encode("a ba b", PLAIN), [4, 4]);
    assert_eq!(build(&changed(&sentence_piece(&tokens[..3]), &no_prefix)).encode("a ba", PLAIN), [1, 0, 2, 1]);
}

fn changes(json: &Json) -> Vec<(&str, Value)> {
    let key = |key: &str| match key {
        "pre" => "tokenizer.ggml.pre",
        "add_bos_token" => "tokenizer.ggml.add_bos_token",
        "add_eos_token" => "tokenizer.ggml.add_eos_token",
        "add_space_prefix" => "tokenizer.ggml.add_space_prefix",
        other => panic!("no such change: {other}"),
    };
    let value = |value: &Json| match value {
        Json::Bool(flag) => Value::Bool(*flag),
        other => Value::String(other.as_str().expect("a string").to_owned()),
    };
    json.as_object().expect("an object").iter().map(|(k, v)| (key(k), value(v))).collect()
}
