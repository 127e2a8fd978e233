//! Distances of computed logits from those of the f64 reference.
//!
//! Logits have no natural unit, so an absolute difference says little: [`relative_to_spread`] divides it by the
//! standard deviation of the reference row, [`kl_divergence`] measures its effect on the probabilities. A value that is not
//! finite makes every distance infinite, so that a bound on a distance also rejects NaN and infinity.

/// The largest absolute difference; infinite if a value is not finite.
///
/// Panics if the lengths differ.
pub fn max_abs_diff(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "the lengths differ");
    let differences = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs());
    differences.fold(0.0, |max, d| if d.is_finite() { d.max(max) } else { f64::INFINITY })
}

/// The largest absolute difference, in standard deviations of `b`.
///
/// Panics if the lengths differ or `b` is constant.
pub fn relative_to_spread(a: &[f32], b: &[f64]) -> f64 {
    let mean = b.iter().sum::<f64>() / b.len() as f64;
    let variance = b.iter().map(|b| (b - mean) * (b - mean)).sum::<f64>() / b.len() as f64;
    assert!(variance > 0.0, "the reference is constant");
    max_abs_diff(a, b) / variance.sqrt()
}

/// The Kullback-Leibler divergence, in nats, of the softmax of `a` from the softmax of `b`, the reference.
///
/// Panics if the lengths differ.
pub fn kl_divergence(a: &[f32], b: &[f64]) -> f64 {
    if max_abs_diff(a, b).is_infinite() {
        return f64::INFINITY;
    }
    let a = log_softmax(&a.iter().map(|&a| f64::from(a)).collect::<Vec<_>>());
    let b = log_softmax(b);
    a.iter().zip(&b).map(|(a, b)| b.exp() * (b - a)).sum()
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
    logits.iter().map(|l| l - log_sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_a_small_example() {
        let (a, b) = ([1.0, 2.5], [1.0, 2.0]);
        assert_eq!(max_abs_diff(&a, &b), 0.5);
        assert_eq!(relative_to_spread(&a, &b), 1.0);
        // Two outcomes with odds e to 1 against odds e^1.5 to 1.
        let (p, q) = (1.0 / (1.0 + 1f64.exp()), 1.0 / (1.0 + 1.5f64.exp()));
        let expected = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        assert!((kl_divergence(&a, &b) - expected).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_finite_is_infinitely_far() {
        for nonsense in [f32::NAN, f32::INFINITY] {
            let (a, b) = ([nonsense, 0.0], [0.0, 1.0]);
            assert_eq!(max_abs_diff(&a, &b), f64::INFINITY);
            assert_eq!(relative_to_spread(&a, &b), f64::INFINITY);
            assert_eq!(kl_divergence(&a, &b), f64::INFINITY);
        }
    }
}
