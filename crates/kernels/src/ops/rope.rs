//! Rotary position embedding of one head.

/// Which two dimensions of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeLayout {
    /// Dimensions `2i` and `2i + 1`, as the original Llama code has them.
    Interleaved,
    /// Dimensions `i` and `i + n/2` of the first `n` rotated ones, as GPT-NeoX has them.
    Halves,
}

/// Rotates the first `2 * cos_sin.len()` dimensions of `head`; pair `i` turns by the angle of `cos_sin[i]`.
pub(crate) fn rope(head: &mut [f32], cos_sin: &[[f32; 2]], layout: RopeLayout) {
    let pairs = cos_sin.len();
    match layout {
        RopeLayout::Interleaved => {
            for (pair, cos_sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos_sin) {
                *pair = rotate(*pair, *cos_sin);
            }
        }
        RopeLayout::Halves => {
            let (low, high) = head.split_at_mut(pairs);
            for ((a, b), cos_sin) in low.iter_mut().zip(high).zip(cos_sin) {
                [*a, *b] = rotate([*a, *b], *cos_sin);
            }
        }
    }
}

fn rotate([a, b]: [f32; 2], [cos, sin]: [f32; 2]) -> [f32; 2] {
    [a * cos - b * sin, a * sin + b * cos]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_moves_each_pair_and_leaves_the_rest() {
        let turn = [[0.0, 1.0]; 2];
        let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
        rope(&mut head, &turn, RopeLayout::Interleaved);
        assert_eq!(head, [-2.0, 1.0, -4.0, 3.0, 5.0]);
        let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
        rope(&mut head, &turn, RopeLayout::Halves);
        assert_eq!(head, [-3.0, -4.0, 1.0, 2.0, 5.0]);
    }
}
