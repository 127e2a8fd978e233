//! The matrix product by dot products: the oracle of every faster one.

use crate::formats::table::Format;

/// The operands of a matrix product, their lengths checked.
///
/// Shapes: `weights` is `[n_rows, cols]` in `format`, `activations` is `[n_tokens, cols]` in the format's activation
/// type, `out` is `[n_tokens, n_rows]`.
pub(crate) struct MatmulArgs<'a> {
    pub(crate) format: &'static Format,
    pub(crate) cols: usize,
    pub(crate) n_rows: usize,
    pub(crate) n_tokens: usize,
    /// The tokens are computed as those of a long prompt are, whether or not there are many.
    pub(crate) is_long: bool,
    pub(crate) weights: &'a [u8],
    pub(crate) activations: &'a [u8],
    pub(crate) out: &'a mut [f32],
}

impl MatmulArgs<'_> {
    /// Bytes of one weight row.
    pub(crate) fn weight_row_bytes(&self) -> usize {
        self.cols / self.format.block_len * self.format.block_bytes
    }

    /// Bytes of one activation row.
    pub(crate) fn activation_row_bytes(&self) -> usize {
        self.format.activation.row_bytes(self.cols)
    }
}

/// Multiplies any format, one dot product at a time.
pub(crate) fn matmul(args: &mut MatmulArgs<'_>) {
    let (weight_bytes, activation_bytes) = (args.weight_row_bytes(), args.activation_row_bytes());
    for row in 0..args.n_rows {
        let weights = &args.weights[row * weight_bytes..][..weight_bytes];
        for (token, activation) in args.activations.chunks_exact(activation_bytes).enumerate() {
            args.out[token * args.n_rows + row] = (args.format.dot)(weights, activation, args.cols);
        }
    }
}
