//! What sampling does under a constraint: as if only the allowed tokens had a probability.

use std::collections::BTreeMap;

use engine::{FinishReason, GenerateRequest, Grammar, Sampler, SamplingOptions};
use testkit::{TinySpec, real_model, temp_model};

use crate::support::{Judge, load, run_all};

/// Logits without a pattern.
fn noise(n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 20) as f32).collect()
}

#[test]
fn the_best_allowed_token_is_taken_at_temperature_zero() {
    let judge = Judge::of_file(real_model!().as_ref());
    let logits = noise(judge.tokenizer.vocab_len());
    for text in ["[a-z]{5}x", "(?s:.)*", "zebra|zoo"] {
        let mut constraint = judge.compile(&Grammar::Regex(text.to_owned()));
        let mask = constraint.mask().expect("something may come");
        let allowed = (0..).zip(&logits).filter(|(id, _)| mask.has(*id));
        let best = allowed.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map(|(id, _)| id);
        let mut sampler = Sampler::new(&SamplingOptions { temperature: 0.0, ..SamplingOptions::default() });
        let chosen = sampler.sample_allowed(&logits, &[], &mut constraint).expect("something may come");
        assert_eq!(Some(chosen), best, "{text}");
    }
}

#[test]
fn draws_have_the_probabilities_of_the_allowed_tokens_alone() {
    let judge = Judge::tiny();
    let logits: Vec<f32> = noise(judge.tokenizer.vocab_len()).iter().map(|logit| logit / 8.0).collect();
    let constraint = judge.compile(&Grammar::Regex("[a-d]x".to_owned()));
    let options =
        SamplingOptions { temperature: 1.0, top_k: 0, top_p: 1.0, seed: Some(3), ..SamplingOptions::default() };
    let mut sampler = Sampler::new(&options);
    let mut counts = BTreeMap::new();
    for _ in 0..20_000 {
        let token = sampler.sample_allowed(&logits, &[], &mut constraint.clone()).expect("something may come");
        *counts.entry(token).or_insert(0.0) += 1.0;
    }
    let total: f64 = counts.keys().map(|id| f64::from(logits[*id as usize]).exp()).sum();
    assert_eq!(counts.len(), 4, "a, b, c and d: {counts:?}");
    let term = |(id, count): (&u32, &f64)| {
        let expected = 20_000.0 * f64::from(logits[*id as usize]).exp() / total;
        (count - expected).powi(2) / expected
    };
    // The 99.9th percentile with 3 degrees of freedom.
    assert!(counts.iter().map(term).sum::<f64>() < 16.27, "{counts:?}");
}

fn generate(max_tokens: usize, grammar: &str, stop: &[&str]) -> (String, FinishReason) {
    let path = temp_model(&TinySpec::from_line("qwen2 context=512").build().gguf_bytes());
    let judge = Judge::of_file(&path);
    let request = GenerateRequest {
        prompt: vec![40, 41],
        max_tokens: Some(max_tokens),
        sampling: SamplingOptions { temperature: 0.0, ..SamplingOptions::default() },
        stop: stop.iter().map(ToString::to_string).collect(),
        constraint: Some(judge.compile(&Grammar::Regex(grammar.to_owned()))),
        ..GenerateRequest::default()
    };
    let generation = run_all(&mut load(&path, 512), vec![request]).remove(0).result.expect("it ends");
    (generation.text, generation.finish_reason)
}

#[test]
fn a_complete_text_ends_the_generation() {
    assert_eq!(generate(100, "exactly this", &[]), ("exactly this".to_owned(), FinishReason::Stop));
    // Also with the last token that there is room for.
    assert_eq!(generate(3, "x7z", &[]), ("x7z".to_owned(), FinishReason::Stop));
}

#[test]
fn a_limit_and_a_stop_text_end_it_before() {
    assert_eq!(generate(4, "x7z9!q-w", &[]), ("x7z9".to_owned(), FinishReason::Length));
    assert_eq!(generate(100, "x7z9!q-w", &["9!"]), ("x7z".to_owned(), FinishReason::Stop));
}

#[test]
fn requests_with_and_without_a_constraint_share_passes() {
    let judge = Judge::of_file(real_model!().as_ref());
    let mut loaded = load(real_model!().as_ref(), 256);
    let sampling = SamplingOptions { temperature: 0.0, ..SamplingOptions::default() };
    let prompt = judge.tokenizer.encode("The capital of France is", model::EncodeOptions::default());
    let plain = GenerateRequest { prompt, max_tokens: Some(12), sampling, ..GenerateRequest::default() };
    let bound = |regex: &str| {
        let constraint = judge.compile(&Grammar::Regex(regex.to_owned()));
        GenerateRequest { constraint: Some(constraint), ..plain.clone() }
    };
    let all = [plain.clone(), bound(" (Rome|Oslo)\\."), bound("( [a-z]+){3}!"), plain.clone()];
    let text = |finished: &engine::Finished| finished.result.as_ref().expect("it ends").text.clone();
    let together: Vec<String> = run_all(&mut loaded, all.to_vec()).iter().map(text).collect();
    let alone: Vec<String> = all.iter().map(|one| text(&run_all(&mut loaded, vec![one.clone()])[0])).collect();
    assert_eq!(together, alone);
    assert!([" Rome.", " Oslo."].contains(&together[1].as_str()), "{together:?}");
    assert!(together[0].contains("Paris"), "{together:?}");
}
