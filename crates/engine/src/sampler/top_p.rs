//! Nucleus sampling. Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration".

use crate::sampler::candidates::Candidates;

/// Keeps the fewest best candidates whose probabilities add up to at least `p`: one at least, all if `p` is 1.
pub(super) fn keep(candidates: &mut Candidates, p: f32) {
    if p >= 1.0 {
        return;
    }
    let target = f64::from(p) * candidates.total_weight();
    let (mut n, mut sum) = (0, 0.0);
    while n < candidates.items.len() && (n == 0 || sum < target) {
        candidates.sort_best(n + 1);
        sum += candidates.weight(candidates.items[n]);
        n += 1;
    }
    candidates.items.truncate(n);
    candidates.sorted = candidates.sorted.min(n);
}
