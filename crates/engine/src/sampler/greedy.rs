//! Temperature 0: the best token.

use model::TokenId;

/// The token with the highest logit, the lowest id among equals; none if no logit is above negative infinity.
pub(super) fn argmax(logits: &[f32]) -> Option<TokenId> {
    let mut best = (None, f32::NEG_INFINITY);
    for (id, &logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (Some(id), logit);
        }
    }
    best.0
}
