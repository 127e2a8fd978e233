//! What Q4_K and Q5_K share: super-blocks of 256 weights whose eight groups of 32 have 6-bit scales and minima.
//!
//! A weight is `d * scale[g] * quant - dmin * min[g]`. The dot product sums `scale[g] * (quants . activations)` and
//! `min[g] * sum(activations)` in exact integers over the super-block and then scales each once.

use super::blocks::{f16_at, part};
use crate::activation::Q8KRow;

/// An unpacked super-block.
pub(super) struct SuperBlock {
    d: f32,
    dmin: f32,
    scales: [u8; 8],
    mins: [u8; 8],
    pub(super) quants: [u8; 256],
}

impl SuperBlock {
    /// Reads the 16 bytes that open both formats and takes the quants as unpacked by the caller.
    pub(super) fn new(block: &[u8], quants: [u8; 256]) -> SuperBlock {
        let (scales, mins) = scales_and_mins(part(block, 4));
        SuperBlock { d: f16_at(block, 0), dmin: f16_at(block, 2), scales, mins, quants }
    }

    fn dequantise(&self, out: &mut [f32; 256]) {
        for (g, (out, quants)) in
            out.as_chunks_mut::<32>().0.iter_mut().zip(self.quants.as_chunks::<32>().0).enumerate()
        {
            let (scale, min) = (self.d * f32::from(self.scales[g]), self.dmin * f32::from(self.mins[g]));
            for (w, &q) in out.iter_mut().zip(quants) {
                *w = scale * f32::from(q) - min;
            }
        }
    }

    fn dot(&self, activation: &Q8KRow, block: usize) -> f32 {
        let (mut sum, mut sum_mins) = (0i32, 0i32);
        let (quants, sums) = (activation.quants(block), activation.sums(block));
        for g in 0..8 {
            let dot: i32 =
                (g * 32..g * 32 + 32).map(|i| i32::from(self.quants[i]) * i32::from(quants[i].cast_signed())).sum();
            sum += i32::from(self.scales[g]) * dot;
            sum_mins += i32::from(self.mins[g]) * (i32::from(sums[2 * g]) + i32::from(sums[2 * g + 1]));
        }
        activation.scale(block) * (self.d * sum as f32 - self.dmin * sum_mins as f32)
    }
}

/// Writes the weights of a row of super-blocks.
pub(super) fn dequantise<const BYTES: usize>(row: &[u8], out: &mut [f32], unpack: fn(&[u8; BYTES]) -> SuperBlock) {
    for (block, out) in row.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<256>().0) {
        unpack(block).dequantise(out);
    }
}

/// The dot product of a row of super-blocks and a Q8_K row of `cols` values.
pub(super) fn dot<const BYTES: usize>(
    row: &[u8],
    activation: &[u8],
    cols: usize,
    unpack: fn(&[u8; BYTES]) -> SuperBlock,
) -> f32 {
    let activation = Q8KRow::new(activation, cols);
    row.as_chunks::<BYTES>().0.iter().enumerate().map(|(i, block)| unpack(block).dot(&activation, i)).sum()
}

/// The eight 6-bit scales and the eight 6-bit minima in 12 bytes.
///
/// Groups 0-3 keep their scale in the low six bits of bytes 0-3 and their minimum in those of bytes 4-7. Groups 4-7 keep
/// the low four bits of both in bytes 8-11 and the upper two in the top bits that groups 0-3 leave free.
fn scales_and_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for g in 0..4 {
        scales[g] = packed[g] & 63;
        mins[g] = packed[g + 4] & 63;
        scales[g + 4] = (packed[g + 8] & 15) | ((packed[g] >> 6) << 4);
        mins[g + 4] = (packed[g + 8] >> 4) | ((packed[g + 4] >> 6) << 4);
    }
    (scales, mins)
}

/// The 4-bit quants of 256 weights: each 32 bytes hold a group of 32 in their low halves and the next in their high.
pub(super) fn nibbles(bytes: &[u8; 128]) -> [u8; 256] {
    std::array::from_fn(|i| {
        let byte = bytes[i / 64 * 32 + i % 32];
        if i % 64 < 32 { byte & 15 } else { byte >> 4 }
    })
}
