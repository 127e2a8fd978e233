//! The tokens that can still be chosen.

use std::cmp::Ordering;

use model::TokenId;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: TokenId,
    /// Finite.
    pub(super) logit: f32,
}

impl Candidate {
    /// The better one first, by logit and then by lower id: a total order, so that no sort leaves anything to chance.
    pub(super) fn rank(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

/// Candidates with finite logits; the first `sorted` are the best ones in order, the others follow in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    pub(super) items: Vec<Candidate>,
    pub(super) sorted: usize,
    /// The best logit.
    pub(super) best: f32,
    /// What logits are divided by when they become probabilities.
    pub(super) temperature: f64,
}

/// How many more candidates are put in order at once, at least.
const SORT_STEP: usize = 256;

impl Candidates {
    /// Empties the list for another row.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.sorted = 0;
        self.best = f32::NEG_INFINITY;
        self.temperature = 1.0;
    }

    /// A candidate's probability over the best one's: portable, because nothing in it is left to the platform.
    pub(super) fn weight(&self, candidate: Candidate) -> f64 {
        libm::exp((f64::from(candidate.logit) - f64::from(self.best)) / self.temperature)
    }

    /// The sum of all weights, in the order of the list.
    pub(super) fn total_weight(&self) -> f64 {
        self.items.iter().map(|&candidate| self.weight(candidate)).sum()
    }

    /// Puts the best `n` in order at the front, or all if there are fewer.
    pub(super) fn sort_best(&mut self, n: usize) {
        while self.sorted < n.min(self.items.len()) {
            let rest = &mut self.items[self.sorted..];
            let step = SORT_STEP.max(self.sorted).max(n - self.sorted).min(rest.len());
            if step < rest.len() {
                rest.select_nth_unstable_by(step, Candidate::rank);
            }
            rest[..step].sort_unstable_by(Candidate::rank);
            self.sorted += step;
        }
    }
}
