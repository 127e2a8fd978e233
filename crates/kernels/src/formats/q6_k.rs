//! Q6_K: super-blocks of 256 weights of 6 bits with a signed 8-bit scale per 16.
//!
//! A block is `[u8; 128] low, [u8; 64] high, [i8; 16] scales, f16 d`, a weight `d * scale * (quant - 32)`. Each half of
//! 128 weights has 64 bytes of low nibbles (weights 0-63 in the low halves, 64-127 in the high) and 32 bytes of upper
//! bit pairs (pair `k` of byte `i` belongs to weight `32 k + i`).

use super::blocks::{Blocks, f16_at, part};
use crate::activation::{ActivationType, Q8KRow};

const BYTES: usize = size_of::<([u8; 128], [u8; 64], [i8; 16], [u8; 2])>();
const _: () = assert!(BYTES == 210);

pub(super) const Q6_K: Blocks = Blocks { len: 256, bytes: BYTES, activation: ActivationType::Q8_K, dequantise, dot };

/// The 256 quants, centred.
fn quants(block: &[u8; BYTES]) -> [i8; 256] {
    std::array::from_fn(|i| {
        let (half, in_half) = (i / 128, i % 128);
        let low = block[64 * half + in_half % 64];
        let low = if in_half < 64 { low & 15 } else { low >> 4 };
        let high = block[128 + 32 * half + in_half % 32] >> (in_half / 32 * 2) & 3;
        (low | high << 4).cast_signed() - 32
    })
}

fn scales(block: &[u8; BYTES]) -> [i8; 16] {
    part::<16>(block, 192).map(u8::cast_signed)
}

fn d(block: &[u8; BYTES]) -> f32 {
    f16_at(block, 208)
}

fn dequantise(row: &[u8], out: &mut [f32]) {
    for (block, out) in row.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<256>().0) {
        let (d, scales) = (d(block), scales(block));
        for (i, (w, q)) in out.iter_mut().zip(quants(block)).enumerate() {
            *w = d * f32::from(scales[i / 16]) * f32::from(q);
        }
    }
}

fn dot(row: &[u8], activation: &[u8], cols: usize) -> f32 {
    let activation = Q8KRow::new(activation, cols);
    let blocks = row.as_chunks::<BYTES>().0.iter().enumerate();
    blocks.map(|(i, block)| d(block) * activation.scale(i) * dot_block(block, activation.quants(i)) as f32).sum()
}

fn dot_block(block: &[u8; BYTES], activation: &[u8; 256]) -> i32 {
    let (quants, scales) = (quants(block), scales(block));
    let mut sum = 0;
    for (g, scale) in scales.into_iter().enumerate() {
        let dot: i32 =
            (g * 16..g * 16 + 16).map(|i| i32::from(quants[i]) * i32::from(activation[i].cast_signed())).sum();
        sum += i32::from(scale) * dot;
    }
    sum
}
