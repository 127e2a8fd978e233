//! Minimum probability. Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling".

use crate::sampler::candidates::Candidates;

/// Drops candidates with less than `p` times the probability of the best one, which stays.
pub(super) fn keep(candidates: &mut Candidates, p: f32) {
    if p <= 0.0 {
        return;
    }
    let mut items = std::mem::take(&mut candidates.items);
    items.retain(|&candidate| candidates.weight(candidate) >= f64::from(p));
    candidates.sorted = candidates.sorted.min(items.len());
    candidates.items = items;
}
