//! The products of formats that this tier has none for: the scalar ones, chunk by chunk.

use super::activation::{COLUMNS, chunks};
use crate::activation::ActivationType;
use crate::ops::matmul::{self, MatmulArgs};

/// Multiplies any format. A chunk of a token is put in the scalar tier's order once for all rows.
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    let format = args.format;
    if format.activation == ActivationType::F32 {
        return matmul::matmul(args);
    }
    let (row_bytes, chunk_bytes) = (args.weight_row_bytes(), COLUMNS / format.block_len * format.block_bytes);
    args.out.fill(0.0);
    for (token, activations) in args.activations.chunks_exact(args.activation_row_bytes()).enumerate() {
        for (c, chunk) in chunks(activations).iter().enumerate().take(args.cols.div_ceil(COLUMNS)) {
            let cols = COLUMNS.min(args.cols - c * COLUMNS);
            let activations = chunk.in_scalar_order(format.activation, cols);
            for (row, weights) in args.weights.chunks_exact(row_bytes).enumerate() {
                let weights = &weights[c * chunk_bytes..][..cols / format.block_len * format.block_bytes];
                args.out[token * args.n_rows + row] += (format.dot)(weights, &activations, cols);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::table::QuantType;
    use crate::kernels::SCALAR;
    use crate::simd::avx512::cpu::is_supported;
    use crate::simd::avx512::tier::KERNELS;

    /// Within rounding, for rows of one chunk bit for bit.
    #[test]
    fn products_are_those_of_the_scalar_tier() {
        if !is_supported() {
            return;
        }
        for (format, cols) in QuantType::formats().iter().flat_map(|format| [(format, 256), (format, 1280)]) {
            let weights: Vec<u8> =
                (0..3 * cols / format.block_len * format.block_bytes).map(|i| (i % 59) as u8).collect();
            let x: Vec<f32> = (0..2 * cols).map(|i| (i as f32 * 0.37).sin()).collect();
            let [want, got] = [&SCALAR, &KERNELS].map(|kernels| {
                let mut activations = vec![0; 2 * format.activation.row_bytes(cols)];
                for (x, row) in x.chunks(cols).zip(activations.chunks_exact_mut(format.activation.row_bytes(cols))) {
                    kernels.quantise(format.activation, x, row);
                }
                let (mut out, product) = (vec![0.0; 6], if kernels.name == "scalar" { matmul::matmul } else { matmul });
                let (weights, activations) = (&weights[..], &activations[..]);
                product(&mut MatmulArgs {
                    format,
                    cols,
                    n_rows: 3,
                    n_tokens: 2,
                    is_long: false,
                    weights,
                    activations,
                    out: &mut out,
                });
                out
            });
            for (want, got) in want.iter().zip(&got) {
                let allowed = if cols > COLUMNS { want.abs() * 1e-4 } else { 0.0 };
                assert!((want - got).abs() <= allowed, "{} {cols}: {want} {got}", format.name);
            }
        }
    }
}
