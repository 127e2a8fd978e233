//! Softmax over one row of scores.

/// Replaces `x` by `exp(x - max) / sum`.
///
/// A row of minus infinities (all positions masked) becomes zeros; a row with a NaN or plus infinity becomes NaN.
pub(crate) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY && !x.iter().any(|v| v.is_nan()) {
        x.fill(0.0);
        return;
    }
    let mut sum = 0.0;
    for v in &mut *x {
        *v = (*v - max).exp();
        sum += *v;
    }
    let inverse = 1.0 / sum;
    for v in x {
        *v *= inverse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_scores_stay_finite_and_sum_to_one() {
        let mut x = [1e30, 1e30, -1e30, f32::NEG_INFINITY];
        softmax(&mut x);
        assert_eq!(x, [0.5, 0.5, 0.0, 0.0]);
        let mut x: Vec<f32> = (0..1000).map(|i| (i % 37) as f32 * 0.5).collect();
        softmax(&mut x);
        assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn masked_rows_become_zeros_and_broken_rows_nan() {
        let mut x = [f32::NEG_INFINITY; 3];
        softmax(&mut x);
        assert_eq!(x, [0.0; 3]);
        for broken in [f32::NAN, f32::INFINITY] {
            let mut x = [f32::NEG_INFINITY, broken];
            softmax(&mut x);
            assert!(x[1].is_nan(), "{broken}");
        }
        softmax(&mut []);
    }
}
