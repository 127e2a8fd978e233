//! Root-mean-square normalisation of one row.

/// Writes `x / sqrt(mean(x^2) + eps) * weight`. Sums in f64: squares of activations up to 1e38 do not overflow.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let sum: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    let scale = rms_scale(sum, x.len(), eps);
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * w;
    }
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
        let mut out = [0.0; 4];
        rms_norm(&[3.0, -3.0, 3.0, 3.0], &[1.0, 1.0, 2.0, 0.5], 0.0, &mut out);
        assert_eq!(out, [1.0, -1.0, 2.0, 0.5]);
        rms_norm(&[1e30; 4], &[1.0; 4], 1e-5, &mut out);
        assert_eq!(out, [1.0; 4]);
        rms_norm(&[0.0; 4], &[1.0; 4], 1e-5, &mut out);
        assert_eq!(out, [0.0; 4]);
    }
}
