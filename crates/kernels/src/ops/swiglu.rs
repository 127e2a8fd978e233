//! The gated activation of the feed-forward block.

/// Replaces `gate` by `silu(gate) * up`, where `silu(x) = x / (1 + exp(-x))`.
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + (-*gate).exp()) * up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_gates_neither_overflow_nor_vanish() {
        let mut gate = [0.0, 1e30, -1e30, 200.0, -200.0];
        swiglu(&mut gate, &[2.0; 5]);
        assert_eq!(gate, [0.0, 2e30, 0.0, 400.0, 0.0]);
    }
}
