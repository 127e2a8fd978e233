//! The sampler as a caller sees it: what it may choose, how often, and that it chooses the same again.
//!
//! The distributions are compared by a chi-square test with fixed seeds, so a run never fails by chance.

use engine::{Sampler, SamplingError, SamplingOptions};
use proptest::prelude::*;

/// Everything off: the plain distribution of the logits.
fn plain() -> SamplingOptions {
    SamplingOptions { temperature: 1.0, top_k: 0, top_p: 1.0, seed: Some(1), ..SamplingOptions::default() }
}

fn draw(options: &SamplingOptions, logits: &[f32], n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(options);
    (0..n).map(|_| sampler.sample(logits, &[]).expect("the row has a finite logit")).collect()
}

/// Pseudo-random logits between -8 and 8.
fn noise(n: u64, salt: u64) -> Vec<f32> {
    let mix = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (0..n).map(|i| (mix(mix(i + 1) + salt) >> 40) as f32 / (1 << 20) as f32 - 8.0).collect()
}

/// The chi-square statistic of drawn ids against probabilities.
fn chi_square(ids: &[u32], probabilities: &[f64]) -> f64 {
    let term = |(id, p): (usize, &f64)| {
        let count = ids.iter().filter(|drawn| **drawn as usize == id).count() as f64;
        let expected = p * ids.len() as f64;
        (count - expected).powi(2) / expected
    };
    probabilities.iter().enumerate().map(term).sum()
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

#[test]
fn tokens_come_as_often_as_their_probability_says() {
    let logits = [1.0, 0.0, -1.0, 2.0, 0.5];
    for temperature in [0.5, 1.0, 2.0] {
        for seed in 0..5 {
            let ids = draw(&SamplingOptions { temperature, seed: Some(seed), ..plain() }, &logits, 20_000);
            let statistic = chi_square(&ids, &softmax(&logits, f64::from(temperature)));
            // The 99.9th percentile with 4 degrees of freedom.
            assert!(statistic < 18.47, "temperature {temperature}, seed {seed}: {statistic}");
        }
    }
}

#[test]
fn filters_come_before_the_temperature() {
    // Probabilities 0.64, 0.24, 0.09, 0.03: top-p 0.8 keeps two, at any temperature.
    let logits = [3.0, 2.0, 1.0, 0.0];
    let ids = draw(&SamplingOptions { temperature: 3.0, top_p: 0.8, ..plain() }, &logits, 5_000);
    assert!(ids.iter().all(|id| *id < 2));
    // The 99.9th percentile with 1 degree of freedom.
    assert!(chi_square(&ids, &softmax(&logits[..2], 3.0)) < 10.83);
}

#[test]
fn the_same_seed_gives_the_same_tokens() {
    let logits = noise(1000, 0);
    let options = SamplingOptions { seed: Some(7), ..SamplingOptions::default() };
    assert_eq!(draw(&options, &logits, 100), draw(&options, &logits, 100));
    let other = SamplingOptions { seed: Some(8), ..options.clone() };
    assert_ne!(draw(&options, &logits, 100), draw(&other, &logits, 100));
    let unseeded = SamplingOptions { seed: None, ..options };
    assert_ne!(draw(&unseeded, &logits, 100), draw(&unseeded, &logits, 100));
}

/// Recorded once; a change here changes every seeded text that anybody has written down.
#[test]
fn seeded_tokens_stay_what_they_were() {
    let recorded = |options: SamplingOptions| draw(&options, &noise(50_000, 3), 8);
    let seeded = SamplingOptions { seed: Some(42), ..SamplingOptions::default() };
    assert_eq!(recorded(seeded.clone()), DEFAULT);
    assert_eq!(recorded(SamplingOptions { top_k: 0, top_p: 1.0, temperature: 1.5, ..seeded }), UNFILTERED);
}

const DEFAULT: [u32; 8] = [493, 46439, 728, 14863, 20133, 15422, 22408, 7318];
const UNFILTERED: [u32; 8] = [34297, 47580, 21518, 31537, 14542, 7596, 15536, 40341];

#[test]
fn penalties_see_the_last_tokens_alone() {
    let options =
        SamplingOptions { temperature: 0.0, frequency_penalty: 0.6, repeat_last_n: 2, ..SamplingOptions::default() };
    let mut sampler = Sampler::new(&options);
    let logits = [2.0, 1.0];
    assert_eq!(sampler.sample(&logits, &[]), Ok(0));
    assert_eq!(sampler.sample(&logits, &[0]), Ok(0));
    assert_eq!(sampler.sample(&logits, &[0, 0]), Ok(1));
    assert_eq!(sampler.sample(&logits, &[0, 0, 9, 9]), Ok(0));
}

#[test]
fn damaged_logits_are_never_chosen() {
    assert_eq!(draw(&plain(), &[f32::NAN, -1.0, f32::NAN, f32::NEG_INFINITY], 50), [1; 50]);
    assert_eq!(draw(&plain(), &[5.0, f32::INFINITY, 5.0], 50), [1; 50]);
    for temperature in [0.0, 1.0] {
        let mut sampler = Sampler::new(&SamplingOptions { temperature, ..plain() });
        assert_eq!(sampler.sample(&[f32::NAN, f32::NEG_INFINITY], &[0]), Err(SamplingError::NoToken));
        assert_eq!(sampler.sample(&[], &[]), Err(SamplingError::NoToken));
    }
}

#[test]
fn options_out_of_range_are_named_with_their_range() {
    let default = SamplingOptions::default;
    assert_eq!(default().validate(), Ok(()));
    let wrong = [
        (SamplingOptions { temperature: -1.0, ..default() }, "temperature is -1, but it must be a number from 0 up"),
        (
            SamplingOptions { temperature: f32::NAN, ..default() },
            "temperature is NaN, but it must be a number from 0 up",
        ),
        (SamplingOptions { top_p: 1.5, ..default() }, "top_p is 1.5, but it must be between 0 and 1"),
        (SamplingOptions { min_p: -0.1, ..default() }, "min_p is -0.1, but it must be between 0 and 1"),
        (SamplingOptions { repeat_penalty: 0.0, ..default() }, "repeat_penalty is 0, but it must be a number above 0"),
        (
            SamplingOptions { frequency_penalty: f32::INFINITY, ..default() },
            "frequency_penalty is inf, but it must be a number",
        ),
        (
            SamplingOptions { presence_penalty: f32::NAN, ..default() },
            "presence_penalty is NaN, but it must be a number",
        ),
    ];
    for (options, message) in wrong {
        assert_eq!(options.validate().unwrap_err().to_string(), message);
    }
}

proptest! {
    #[test]
    fn temperature_0_takes_the_first_of_the_best(
        logits in prop::collection::vec((-4i8..4).prop_map(f32::from), 1..50),
        top_k in 0usize..5,
        top_p in 0.0f32..=1.0,
    ) {
        let options = SamplingOptions { temperature: 0.0, top_k, top_p, ..SamplingOptions::default() };
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        let first = logits.iter().position(|l| *l == best).unwrap();
        prop_assert_eq!(draw(&options, &logits, 1), [first as u32]);
    }

    #[test]
    fn a_choice_of_one_is_the_best_whatever_the_temperature(
        salt in 0u64..1000,
        temperature in 0.01f32..100.0,
        narrow in 0usize..3,
    ) {
        let logits = noise(500, salt);
        let mut options = SamplingOptions { temperature, top_k: 0, top_p: 1.0, ..SamplingOptions::default() };
        match narrow {
            0 => options.top_k = 1,
            1 => options.top_p = 0.0,
            _ => options.min_p = 1.0,
        }
        let greedy = SamplingOptions { temperature: 0.0, ..SamplingOptions::default() };
        prop_assert_eq!(draw(&options, &logits, 1), draw(&greedy, &logits, 1));
    }
}
