//! The first step of the chain: which tokens enter the choice at all.
//!
//! Most rows have 30,000 to 260,000 logits and most choices are among 40. One scan keeps a list of about `2k`
//! at most that are above the worst of the best `k` so far, so the row is read once, and never copied or sorted.

use model::TokenId;

use crate::sampler::candidates::{Candidate, Candidates};

/// Logits that one comparison skips; long enough to run as vector instructions.
const CHUNK: usize = 64;

/// Fills `candidates` with the best `k` of a row in order, or with all of them by id if `k` is 0.
pub(super) fn fill(candidates: &mut Candidates, logits: &[f32], k: usize) {
    candidates.clear();
    if k == 0 || k >= logits.len() {
        candidates.items.extend(candidates_of(logits, 0));
    } else {
        fill_best(&mut candidates.items, logits, k);
    }
    candidates.best = candidates.items.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
    if k != 0 {
        candidates.sort_best(k);
    }
}

/// The tokens from `first` on that may be chosen at all: without those whose logit is NaN or negative infinity.
///
/// A logit of positive infinity counts as the largest finite number, which beats everything else as surely.
fn candidates_of(logits: &[f32], first: TokenId) -> impl Iterator<Item = Candidate> {
    let valid = logits.iter().zip(first..).filter(|(logit, _)| **logit > f32::NEG_INFINITY);
    // Adding zero makes -0.0 equal to 0.0, as it is in every comparison but the total one.
    valid.map(|(&logit, id)| Candidate { id, logit: logit.min(f32::MAX) + 0.0 })
}

fn fill_best(items: &mut Vec<Candidate>, logits: &[f32], k: usize) {
    // A later token that only equals the worst of the best k loses to it by its id.
    let mut worst = f32::NEG_INFINITY;
    for (chunk, first) in logits.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        if !chunk.iter().fold(false, |any, logit| any | (*logit > worst)) {
            continue;
        }
        items.extend(candidates_of(chunk, first).filter(|candidate| candidate.logit > worst));
        if items.len() >= k.saturating_mul(2) {
            worst = keep_best(items, k);
        }
    }
    keep_best(items, k);
}

/// Drops all but the best `k`; the logit of the worst of them.
fn keep_best(items: &mut Vec<Candidate>, k: usize) -> f32 {
    if items.len() <= k {
        return f32::NEG_INFINITY;
    }
    let worst = items.select_nth_unstable_by(k - 1, Candidate::rank).1.logit;
    items.truncate(k);
    worst
}
