//! Each sampling flag does what its name says, seen from the tokens that come out.
//!
//! `--logprobs` tells the distribution before the flags change it, so the tests can say which tokens may be chosen. The
//! model is a tiny Qwen2 that repeats one token for ever when nothing stops it.

use std::collections::HashSet;

use serde_json::Value;
use testkit::TinyModel;

use crate::support::{Tiny, ids, json, number};

fn model() -> Tiny {
    Tiny::of_spec(TinyModel::qwen2())
}

/// Twenty-four tokens with the eight best of each step.
fn sample(model: &Tiny, flags: &[&str]) -> Value {
    let fixed = ["run", model.path(), "--raw", "-p", "and the", "-n", "24", "--logprobs", "8"];
    json(&[&fixed, flags].concat())
}

fn tokens(model: &Tiny, flags: &[&str]) -> Vec<u64> {
    ids(&sample(model, flags)["tokens"])
}

fn greedy(model: &Tiny) -> Vec<u64> {
    tokens(model, &["--temperature", "0"])
}

/// At which place among the best each chosen token stood; `None` past the eighth.
fn ranks(answer: &Value) -> Vec<Option<usize>> {
    let steps = answer["logprobs"].as_array().expect("a list");
    let rank = |step: &Value| step["top"].as_array().expect("a list").iter().position(|best| best["id"] == step["id"]);
    steps.iter().map(rank).collect()
}

/// Every token may be chosen, and all nearly alike: what remains is the flag under test.
const WILD: [&str; 8] = ["--temperature", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0"];

/// [`WILD`] with another value for one of its flags.
fn wild_but<'a>(flag: &str, value: &'a str) -> Vec<&'a str> {
    let mut flags: Vec<&'a str> = WILD.to_vec();
    let at = flags.iter().position(|&known| known == flag).expect("the flag is one of WILD");
    flags[at + 1] = value;
    flags
}

#[test]
fn without_limits_any_token_may_be_chosen() {
    let ranks = ranks(&sample(&model(), &[&WILD[..], &["--seed", "1"]].concat()));
    assert!(ranks.contains(&None), "24 tokens of 300 equally probable ones, all among the best 8: {ranks:?}");
}

#[test]
fn top_k_chooses_among_the_k_best() {
    let model = model();
    let greedy = greedy(&model);
    for seed in ["1", "2", "3"] {
        let answer = sample(&model, &[&wild_but("--top-k", "3")[..], &["--seed", seed]].concat());
        let ranks = ranks(&answer);
        assert!(ranks.iter().all(|rank| rank.is_some_and(|rank| rank < 3)), "{ranks:?}");
        assert!(ranks.iter().any(|&rank| rank != Some(0)), "not only the best: {ranks:?}");
        assert_eq!(tokens(&model, &[&wild_but("--top-k", "1")[..], &["--seed", seed]].concat()), greedy);
    }
}

#[test]
fn a_small_top_p_leaves_the_best_token() {
    let model = model();
    let flags = wild_but("--top-p", "0.0001");
    assert_eq!(tokens(&model, &[&flags[..], &["--seed", "1"]].concat()), greedy(&model));
}

#[test]
fn min_p_drops_what_is_far_less_probable_than_the_best() {
    let model = model();
    assert_eq!(tokens(&model, &[&wild_but("--min-p", "1")[..], &["--seed", "1"]].concat()), greedy(&model));
    // At temperature 1 the probabilities that min-p compares are those that logprobs tell.
    let flags = ["--temperature", "1", "--top-k", "0", "--top-p", "1", "--min-p", "0.5", "--seed", "1"];
    let answer = sample(&model, &flags);
    for step in answer["logprobs"].as_array().expect("a list") {
        let share = (number(step, "logprob") - number(&step["top"][0], "logprob")).exp();
        assert!(share >= 0.499, "a token {share} as probable as the best: {step}");
    }
}

#[test]
fn a_temperature_near_zero_is_nearly_greedy() {
    let model = model();
    assert_eq!(tokens(&model, &["--temperature", "0.0001", "--seed", "1"]), greedy(&model));
}

#[test]
fn each_penalty_breaks_a_repetition() {
    let model = model();
    let distinct = |flags: &[&str]| {
        let tokens = tokens(&model, &[&["--temperature", "0"], flags].concat());
        tokens.into_iter().collect::<HashSet<_>>().len()
    };
    let repeated = distinct(&[]);
    assert!(repeated < 6, "the model repeats itself: {repeated} distinct tokens of 24");
    for penalty in [["--repeat-penalty", "3"], ["--frequency-penalty", "2"], ["--presence-penalty", "2"]] {
        let n = distinct(&penalty);
        assert!(n > 2 * repeated, "{penalty:?}: {n} distinct tokens of 24, {repeated} without");
    }
}
