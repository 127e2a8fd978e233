//! Multiplication by a constant: embeddings, residuals, logits.

/// Multiplies each `x` by `factor`.
pub(crate) fn scale(x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}
