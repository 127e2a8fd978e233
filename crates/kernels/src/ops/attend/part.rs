//! What a query has gathered of the positions that it has met: its greatest score, and relative to that the sum of the
//! weights and the weighted sum of the values.
//!
//! Parts of different runs of positions merge into the part of both. A part in the end becomes an output when its
//! values are divided by the sum of the weights.

/// Numbers behind the values: the greatest score, the sum of the weights, and room that keeps parts on cache lines.
const TAIL: usize = 16;

/// Lengths of values are rounded up to a multiple of this, so that vectors end where parts do.
pub(crate) const PADDING: usize = 16;

/// How the part of a query with values of one length lies in memory.
///
/// `[values and padding | greatest score, sum of weights, padding]`
#[derive(Clone, Copy, Debug)]
pub struct PartLayout {
    value_dim: usize,
}

impl PartLayout {
    /// The layout for values of `value_dim` numbers.
    pub fn new(value_dim: usize) -> PartLayout {
        PartLayout { value_dim }
    }

    /// Numbers in a part.
    #[expect(clippy::len_without_is_empty, reason = "a part is never empty")]
    pub fn len(self) -> usize {
        self.padded_dim() + TAIL
    }

    /// The length of the values with their padding.
    pub(crate) fn padded_dim(self) -> usize {
        self.value_dim.next_multiple_of(PADDING)
    }

    /// Makes parts that have met no position.
    ///
    /// Panics if `parts` ends inside a part; so do the other operations.
    pub fn clear(self, parts: &mut [f32]) {
        parts.fill(0.0);
        self.each(parts).for_each(|part| part[self.padded_dim()] = f32::NEG_INFINITY);
    }

    /// Adds what `others` have gathered of later positions to `parts`, one by one. Each must have met a position.
    ///
    /// Panics if the lengths differ.
    pub fn merge(self, parts: &mut [f32], others: &[f32]) {
        assert_eq!(parts.len(), others.len(), "merge: parts");
        let dim = self.padded_dim();
        for (part, other) in self.each(parts).zip(others.chunks_exact(self.len())) {
            let max = part[dim].max(other[dim]);
            // Where both have only met scores of minus infinity, there is nothing to scale.
            let scale = |own: f32| if own == f32::NEG_INFINITY { 0.0 } else { (own - max).exp() };
            let (own, others) = (scale(part[dim]), scale(other[dim]));
            part.iter_mut().zip(other).for_each(|(part, other)| *part = *part * own + *other * others);
            part[dim] = max;
        }
    }

    /// Writes the outputs of `parts`, `[n, value_dim]`. What has met no position, or only scores of minus infinity,
    /// becomes zeros.
    ///
    /// Panics if the lengths disagree.
    pub fn finish(self, parts: &[f32], out: &mut [f32]) {
        assert!(parts.len().is_multiple_of(self.len()), "finish: parts of {} numbers", self.len());
        assert_eq!(parts.len() / self.len() * self.value_dim, out.len(), "finish: out");
        for (part, out) in parts.chunks_exact(self.len()).zip(out.chunks_exact_mut(self.value_dim.max(1))) {
            let sum = part[self.padded_dim() + 1];
            let inverse = if sum == 0.0 { 0.0 } else { 1.0 / sum };
            out.iter_mut().zip(part).for_each(|(out, value)| *out = value * inverse);
        }
    }

    fn each(self, parts: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
        assert!(parts.len().is_multiple_of(self.len()), "parts of {} numbers", self.len());
        parts.chunks_exact_mut(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part with these scores and values of one number.
    fn part(positions: &[(f32, f32)]) -> Vec<f32> {
        let layout = PartLayout::new(1);
        let mut part = vec![0.0; layout.len()];
        layout.clear(&mut part);
        let max = positions.iter().map(|p| p.0).fold(f32::NEG_INFINITY, f32::max);
        part[16] = max;
        for (score, value) in positions {
            let weight = if *score == f32::NEG_INFINITY { 0.0 } else { (score - max).exp() };
            part[0] += weight * value;
            part[17] += weight;
        }
        part
    }

    fn output(part: &[f32]) -> f32 {
        let mut out = [9.0];
        PartLayout::new(1).finish(part, &mut out);
        out[0]
    }

    fn merged(a: &[(f32, f32)], b: &[(f32, f32)]) -> f32 {
        let mut merged = part(a);
        PartLayout::new(1).merge(&mut merged, &part(b));
        output(&merged)
    }

    #[test]
    fn merged_parts_are_the_part_of_both() {
        let (a, b) = ([(1.0, 3.0), (2.0, 5.0)], [(4.0, -7.0), (-3.0, 2.0)]);
        let both = output(&part(&[a, b].concat()));
        assert!((merged(&a, &b) - both).abs() < 1e-5);
        assert!((merged(&b, &a) - both).abs() < 1e-5);
    }

    #[test]
    fn positions_without_weight_change_nothing() {
        let nothing = [(f32::NEG_INFINITY, 5.0)];
        assert_eq!(merged(&[(1.0, 3.0)], &nothing), 3.0);
        assert_eq!(merged(&nothing, &[(1.0, 3.0)]), 3.0);
        assert_eq!(merged(&nothing, &nothing), 0.0);
        assert_eq!(output(&part(&[])), 0.0);
    }

    #[test]
    fn a_nan_outlives_a_merge() {
        assert!(merged(&[(1.0, f32::NAN)], &[(2.0, 1.0)]).is_nan());
        assert!(merged(&[(1.0, 1.0)], &[(f32::NAN, 1.0)]).is_nan());
    }
}
