//! The loops over blocks of 32 weights, shared by the Q4, Q5 and Q8 families.
//!
//! A format contributes one function that unpacks a block to 32 small integers with a scale (symmetric formats) or with
//! a scale and a minimum (affine formats). The dot products multiply integers exactly and scale once per block. The
//! minimum of an affine block meets the sum of the activation's quants, which its quantiser recorded.

use crate::activation::Q8_1Row;

/// A block of a format whose weights are `scale * quant`.
pub(super) struct Symmetric {
    pub(super) scale: f32,
    pub(super) quants: [i8; 32],
}

/// A block of a format whose weights are `scale * quant + min`.
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) min: f32,
    pub(super) quants: [i8; 32],
}

/// Writes the weights of a row of symmetric blocks.
pub(super) fn dequantise_symmetric<const BYTES: usize>(
    row: &[u8],
    out: &mut [f32],
    unpack: fn(&[u8; BYTES]) -> Symmetric,
) {
    for (block, out) in row.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let Symmetric { scale, quants } = unpack(block);
        for (w, q) in out.iter_mut().zip(quants) {
            *w = scale * f32::from(q);
        }
    }
}

/// Writes the weights of a row of affine blocks.
pub(super) fn dequantise_affine<const BYTES: usize>(row: &[u8], out: &mut [f32], unpack: fn(&[u8; BYTES]) -> Affine) {
    for (block, out) in row.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        let Affine { scale, min, quants } = unpack(block);
        for (w, q) in out.iter_mut().zip(quants) {
            *w = scale * f32::from(q) + min;
        }
    }
}

/// The dot product of a row of symmetric blocks and a Q8_1 row of `cols` values.
pub(super) fn dot_symmetric<const BYTES: usize>(
    row: &[u8],
    activation: &[u8],
    cols: usize,
    unpack: fn(&[u8; BYTES]) -> Symmetric,
) -> f32 {
    let activation = Q8_1Row::new(activation, cols);
    let mut sum = 0.0;
    for (i, block) in row.as_chunks::<BYTES>().0.iter().enumerate() {
        let Symmetric { scale, quants } = unpack(block);
        sum += scale * activation.scale(i) * dot_i8(&quants, activation.quants(i)) as f32;
    }
    sum
}

/// The dot product of a row of affine blocks and a Q8_1 row of `cols` values.
pub(super) fn dot_affine<const BYTES: usize>(
    row: &[u8],
    activation: &[u8],
    cols: usize,
    unpack: fn(&[u8; BYTES]) -> Affine,
) -> f32 {
    let activation = Q8_1Row::new(activation, cols);
    let mut sum = 0.0;
    for (i, block) in row.as_chunks::<BYTES>().0.iter().enumerate() {
        let Affine { scale, min, quants } = unpack(block);
        sum += scale * activation.scale(i) * dot_i8(&quants, activation.quants(i)) as f32;
        sum += min * (activation.scale(i) * f32::from(activation.sum(i)));
    }
    sum
}

/// The exact dot product of 32 quants and 32 activation quants, which arrive as raw bytes.
fn dot_i8(quants: &[i8; 32], activation: &[u8; 32]) -> i32 {
    quants.iter().zip(activation).map(|(&w, &a)| i32::from(w) * i32::from(a.cast_signed())).sum()
}

/// The low halves of 16 bytes, then their high halves: the order of every 4-bit block of 32.
pub(super) fn nibbles(bytes: &[u8; 16]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}
