//! The model's own distribution: log-probabilities of a row before penalties, filters and temperature.

use model::TokenId;

use crate::sampler::candidates::Candidates;
use crate::sampler::top_k;

/// A token and its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: TokenId,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// The `n` most probable tokens, best first, the lower id first among equals.
///
/// Sums in f64. Tokens whose logit is NaN or negative infinity have no probability and are left out.
pub(crate) fn top_logprobs(logits: &[f32], n: usize) -> Vec<TokenLogprob> {
    if n == 0 {
        return Vec::new();
    }
    let normaliser = log_sum_exp(logits);
    let mut best = Candidates::default();
    top_k::fill(&mut best, logits, n);
    best.items.iter().map(|c| TokenLogprob { id: c.id, logprob: narrow(f64::from(c.logit) - normaliser) }).collect()
}

/// The log-probability of one token; negative infinity for one that has none.
///
/// Panics if `id` is not below the length of `logits`.
pub(crate) fn logprob_of(logits: &[f32], id: TokenId) -> TokenLogprob {
    let logit = logits[id as usize];
    let logprob = if logit > f32::NEG_INFINITY {
        narrow(f64::from(logit.min(f32::MAX)) - log_sum_exp(logits))
    } else {
        f32::NEG_INFINITY
    };
    TokenLogprob { id, logprob }
}

/// The logarithm of the sum of the exponentials of all valid logits.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let valid = || logits.iter().filter(|l| **l > f32::NEG_INFINITY).map(|l| f64::from(l.min(f32::MAX)));
    let best = valid().fold(f64::NEG_INFINITY, f64::max);
    best + valid().map(|logit| (logit - best).exp()).sum::<f64>().ln()
}

#[expect(clippy::cast_possible_truncation, reason = "f32 is what the logits were")]
fn narrow(value: f64) -> f32 {
    value as f32
}
