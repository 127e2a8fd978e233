//! Root-mean-square normalisation of one row.

/// Replaces `x` by `x / sqrt(mean(x^2) + eps) * weight`. Sums in f64: squares of activations up to 1e38 do not overflow.
pub(crate) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let sum: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    let scale = rms_scale(sum, x.len(), eps);
    x.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * scale * w);
}

/// `1 / sqrt(sum / len + eps)`, as every tier computes it.
pub(crate) fn rms_scale(sum: f64, len: usize, eps: f32) -> f32 {
    (1.0 / (sum / len as f64 + f64::from(eps)).sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_to_unit_mean_square_then_scales() {
        let norm = |mut x: [f32; 4], weight: [f32; 4], eps: f32| {
            rms_norm_in_place(&mut x, &weight, eps);
            x
        };
        assert_eq!(norm([3.0, -3.0, 3.0, 3.0], [1.0, 1.0, 2.0, 0.5], 0.0), [1.0, -1.0, 2.0, 0.5]);
        assert_eq!(norm([1e30; 4], [1.0; 4], 1e-5), [1.0; 4]);
        assert_eq!(norm([0.0; 4], [1.0; 4], 1e-5), [0.0; 4]);
    }
}
