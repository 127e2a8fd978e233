//! Temperature: above 1 flattens the distribution, below 1 sharpens it.

use crate::sampler::candidates::Candidates;

/// Divides the logits by `temperature`, which is above 0.
pub(super) fn apply(candidates: &mut Candidates, temperature: f32) {
    candidates.temperature = f64::from(temperature);
}
