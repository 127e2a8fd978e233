//! `tokenize` gives the ids that llama.cpp gives, with special tokens and without.

use testkit::{TinyModel, TinySpec, Vocabulary, real_model};

use crate::support::{Tiny, call, ids, json, keys, recorded};

#[test]
fn hello_world_is_two_tokens() {
    let answer = json(&["tokenize", &real_model!(), "Hello world"]);
    assert_eq!(keys(&answer), ["tokens"]);
    assert_eq!(ids(&answer["tokens"]), [19556, 905]);
}

#[test]
fn odd_strings_have_the_ids_of_llama_cpp() {
    let model = real_model!();
    for case in recorded(include_str!("../data/tokens.json")) {
        let text = case["text"].as_str().expect("a text");
        let tokens = |flags: &[&str]| {
            let answer = call(&[&["tokenize", "--json", &model], flags, &["--", text]].concat()).json();
            ids(&answer["tokens"])
        };
        assert_eq!(tokens(&[]), ids(&case["ids"]), "{text:?}");
        assert_eq!(tokens(&["--no-parse-special"]), ids(&case["no_parse_special"]), "{text:?}, --no-parse-special");
        // SmolLM2's file says that nothing stands before or after a text.
        assert_eq!(tokens(&["--add-special"]), ids(&case["ids"]), "{text:?}, --add-special");
    }
}

#[test]
fn add_special_adds_what_the_model_expects_before_a_text() {
    let model = Tiny::of_spec(TinySpec { vocabulary: Vocabulary::SentencePiece, ..TinyModel::llama() });
    let tokens = |flags: &[&str]| ids(&json(&[&["tokenize", model.path(), "the hell"], flags].concat())["tokens"]);
    let plain = tokens(&[]);
    assert_ne!(plain[0], 1);
    assert_eq!(tokens(&["--add-special"]), [&[1], &plain[..]].concat());
}

#[test]
fn without_json_each_id_is_printed() {
    let text = call(&["tokenize", &real_model!(), "Hello world"]).text();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.contains(&"19556") && words.contains(&"905"), "{text}");
}
