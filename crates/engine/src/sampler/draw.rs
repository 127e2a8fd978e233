//! The last step: one candidate by chance.

use model::TokenId;
use rand_chacha::rand_core::Rng;

use crate::sampler::candidates::Candidates;

/// Draws a candidate with the probability that its weight gives it; none if there is no candidate.
pub(super) fn draw(candidates: &Candidates, generator: &mut impl Rng) -> Option<TokenId> {
    let target = unit(generator) * candidates.total_weight();
    let mut sum = 0.0;
    let chosen = candidates.items.iter().find(|&&candidate| {
        sum += candidates.weight(candidate);
        sum > target
    });
    // The sum is the same one as the total and the target is below it, so only an empty list gets here.
    chosen.or(candidates.items.last()).map(|candidate| candidate.id)
}

/// A number from 0 up to but not including 1, of 53 random bits.
fn unit(generator: &mut impl Rng) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let bits = (generator.next_u64() >> 11) as f64;
    bits * (1.0 / (1u64 << 53) as f64)
}
