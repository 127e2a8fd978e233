//! Every step of the chain against what its definition says of a fully sorted list.

use proptest::prelude::*;

use crate::sampler::candidates::{Candidate, Candidates};
use crate::sampler::chain::Sampler;
use crate::sampler::logprobs::{logprob_of, top_logprobs};
use crate::sampler::options::SamplingOptions;
use crate::sampler::penalties::Penalties;
use crate::sampler::{min_p, top_k, top_p};
use model::TokenId;

/// Logits with ties, with both infinities and with NaN.
fn row() -> impl Strategy<Value = Vec<f32>> {
    let one = prop_oneof![
        8 => -10.0f32..10.0,
        4 => (-3i8..3).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::NAN),
        1 => Just(-0.0),
    ];
    prop_oneof![prop::collection::vec(one.clone(), 1..40), prop::collection::vec(one, 300..600)]
}

/// All valid tokens of a row with their probabilities over the best one's, best first, the lower id among equals.
fn ranked(logits: &[f32]) -> Vec<(TokenId, f64)> {
    let mut all: Vec<(TokenId, f32)> =
        (0..).zip(logits.iter().copied()).filter(|(_, l)| *l > f32::NEG_INFINITY).collect();
    all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    let best = all.first().map_or(0.0, |(_, l)| f64::from(*l));
    all.into_iter().map(|(id, l)| (id, libm::exp(f64::from(l) - best))).collect()
}

fn ids(ranked: &[(TokenId, f64)]) -> Vec<TokenId> {
    ranked.iter().map(|(id, _)| *id).collect()
}

fn kept(candidates: &Candidates) -> Vec<TokenId> {
    let mut items = candidates.items.clone();
    items.sort_by(Candidate::rank);
    assert_eq!(items[..candidates.sorted], candidates.items[..candidates.sorted], "what is said to be in order is");
    items.iter().map(|candidate| candidate.id).collect()
}

proptest! {
    #[test]
    fn top_k_keeps_the_k_best(logits in row(), k in 0usize..100) {
        let mut candidates = Candidates::default();
        top_k::fill(&mut candidates, &logits, k);
        let all = ids(&ranked(&logits));
        let n = if k == 0 { all.len() } else { k.min(all.len()) };
        prop_assert_eq!(kept(&candidates), &all[..n]);
    }

    #[test]
    fn top_p_keeps_the_fewest_that_reach_p(logits in row(), k in 0usize..50, p in 0.0f32..=1.0) {
        let mut candidates = Candidates::default();
        top_k::fill(&mut candidates, &logits, k);
        top_p::keep(&mut candidates, p);
        let mut all = ranked(&logits);
        all.truncate(if k == 0 { all.len() } else { k });
        let total: f64 = all.iter().map(|(_, w)| w).sum();
        let n = candidates.items.len();
        prop_assert_eq!(kept(&candidates), ids(&all[..n]), "the best ones");
        let sum = |n: usize| all[..n].iter().map(|(_, w)| w).sum::<f64>() / total;
        if !all.is_empty() {
            prop_assert!(n >= 1);
            prop_assert!(sum(n) >= f64::from(p) - 1e-12, "enough of them");
            prop_assert!(n == 1 || sum(n - 1) < f64::from(p) + 1e-12 || p == 1.0, "and not one more");
        }
    }

    #[test]
    fn min_p_keeps_the_share_of_the_best(logits in row(), k in 0usize..50, p in 0.0f32..=1.0) {
        let mut candidates = Candidates::default();
        top_k::fill(&mut candidates, &logits, k);
        min_p::keep(&mut candidates, p);
        let mut all = ranked(&logits);
        all.truncate(if k == 0 { all.len() } else { k });
        all.retain(|(_, weight)| *weight >= f64::from(p) || p == 0.0);
        prop_assert_eq!(kept(&candidates), ids(&all));
    }

    #[test]
    fn penalties_are_those_of_llama_cpp(
        logits in prop::collection::vec(-5.0f32..5.0, 8),
        history in prop::collection::vec(0u32..12, 0..30),
        repeat_last_n in 0usize..20,
        repeat_penalty in 0.5f32..2.0,
        frequency_penalty in -1.0f32..1.0,
        presence_penalty in -1.0f32..1.0,
    ) {
        let options = SamplingOptions {
            repeat_last_n, repeat_penalty, frequency_penalty, presence_penalty, ..SamplingOptions::default()
        };
        let window = &history[history.len().saturating_sub(repeat_last_n)..];
        let expected: Vec<f32> = (0..).zip(&logits).map(|(id, &logit)| {
            let count = window.iter().filter(|seen| **seen == id).count();
            if count == 0 {
                return logit;
            }
            let logit = if logit <= 0.0 { logit * repeat_penalty } else { logit / repeat_penalty };
            logit - count as f32 * frequency_penalty - presence_penalty
        }).collect();
        let mut penalties = Penalties::default();
        prop_assert_eq!(penalties.apply(&logits, &history, &options), expected);
    }

    #[test]
    fn logprobs_are_the_log_softmax(logits in row(), n in 0usize..50) {
        let all = ranked(&logits);
        let total: f64 = all.iter().map(|(_, w)| w).sum();
        let top = top_logprobs(&logits, n);
        prop_assert_eq!(top.iter().map(|t| t.id).collect::<Vec<_>>(), ids(&all[..n.min(all.len())]));
        for (one, (id, weight)) in top.iter().zip(&all) {
            prop_assert!((f64::from(one.logprob) - (weight / total).ln()).abs() < 1e-5);
            prop_assert_eq!(logprob_of(&logits, *id), *one);
        }
    }
}

#[test]
fn a_bias_moves_a_token_and_negative_infinity_forbids_it() {
    let bias = |logit_bias| SamplingOptions { temperature: 0.0, logit_bias, ..SamplingOptions::default() };
    let chosen = |options: SamplingOptions| Sampler::new(&options).sample(&[1.0, 3.0, 2.0], &[]).unwrap();
    assert_eq!(chosen(bias(vec![])), 1);
    assert_eq!(chosen(bias(vec![(0, 5.0), (7, 100.0)])), 0);
    assert_eq!(chosen(bias(vec![(1, f32::NEG_INFINITY)])), 2);
}

#[test]
fn a_token_without_a_probability_says_so() {
    let logits = [1.0, f32::NEG_INFINITY, f32::NAN, f32::INFINITY];
    assert_eq!(logprob_of(&logits, 1).logprob, f32::NEG_INFINITY);
    assert_eq!(logprob_of(&logits, 2).logprob, f32::NEG_INFINITY);
    assert_eq!(logprob_of(&logits, 3).logprob, 0.0);
    assert_eq!(top_logprobs(&logits, 9).iter().map(|t| t.id).collect::<Vec<_>>(), [3, 0]);
}
