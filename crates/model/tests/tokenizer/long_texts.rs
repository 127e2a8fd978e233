//! Texts that take a quadratic tokenizer minutes: a short unit repeated up to 100,000 bytes. The test prints its times
//! (`--nocapture`); it fails by hanging.

use std::time::Instant;

use crate::fixtures::{NAMES, PARSED, tokenizer};

#[test]
fn repetition_costs_no_more_than_its_length() {
    let len = 100_000;
    for unit in ["a", " ", "\n", "'", "7", "é", "antidisestablishment", " x", "  x", "<|im_end|>", "<|", "🦀"] {
        let text: String = unit.repeat(len / unit.len());
        for name in NAMES {
            let start = Instant::now();
            let ids = tokenizer(name).encode(&text, PARSED);
            println!("{name:9} {unit:?}: {} bytes, {} tokens, {:?}", text.len(), ids.len(), start.elapsed());
            assert!((1..=text.len() + 1).contains(&ids.len()));
        }
    }
}

#[test]
fn a_run_is_a_run_of_the_longest_token() {
    let qwen = tokenizer("qwen2");
    let ids = qwen.encode(&" ".repeat(128 * 1000), PARSED);
    assert_eq!(ids.len(), 1000, "the vocabulary's longest run has 128 spaces");
    assert!(ids.iter().all(|&id| id == ids[0]));
}

#[test]
fn a_repeated_paragraph_repeats_its_tokens() {
    let paragraph =
        "It's 2024: the quick (brown) foxes' 12345 tails,  don't they?\n\tÜber naïve 日本語 words -- I'LL go\n";
    for name in ["gpt-2", "llama-bpe", "qwen2"] {
        let once = tokenizer(name).encode(paragraph, PARSED);
        assert_eq!(tokenizer(name).encode(&paragraph.repeat(200), PARSED), once.repeat(200), "{name}");
    }
}
