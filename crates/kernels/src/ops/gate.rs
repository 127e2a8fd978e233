//! The gated activation of a feed-forward block.

/// The function that a gate passes through before it meets the other branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + exp(-x))`. Source: Shazeer 2020, eq. 6.
    Silu,
    /// `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`. Source: Hendrycks & Gimpel 2016, section 2.
    Gelu,
}

/// `-2 sqrt(2 / pi)`.
pub(crate) const GELU_SLOPE: f32 = -1.595_769;

/// The weight of the cube in the approximation of GELU.
pub(crate) const GELU_CUBE: f32 = 0.044_715;

/// Replaces `gate` by `activation(gate) * up`.
pub(crate) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exponent(activation, *gate).exp()) * up;
    }
}

/// The `e` of `x / (1 + exp(e))`, which both activations are: `0.5 (1 + tanh(u))` is `1 / (1 + exp(-2u))`.
fn exponent(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => -x,
        Activation::Gelu => GELU_SLOPE * x * (GELU_CUBE * x * x + 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_gates_neither_overflow_nor_vanish() {
        for activation in [Activation::Silu, Activation::Gelu] {
            let mut x = [0.0, 1e30, -1e30, 200.0, -200.0];
            gate(activation, &mut x, &[2.0; 5]);
            assert_eq!(x, [0.0, 2e30, 0.0, 400.0, 0.0]);
        }
    }

    #[test]
    fn gelu_is_its_definition() {
        for i in -400..400 {
            let x = i as f32 * 0.01;
            let mut got = [x];
            gate(Activation::Gelu, &mut got, &[1.0]);
            let x = f64::from(x);
            let want = 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
            assert!((f64::from(got[0]) - want).abs() <= 2e-6 * want.abs() + 1e-30, "{x}: {got:?} {want}");
        }
    }
}
