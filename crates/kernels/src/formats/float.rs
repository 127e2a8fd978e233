//! F32, F16 and BF16: weights that are floats already, multiplied with unquantised activations.
//!
//! The dot product widens each weight to f32 (exact) and sums in eight lanes, so that long rows lose little.

use half::{bf16, f16};

use super::blocks::Blocks;
use crate::activation::ActivationType;

const _: () = assert!(size_of::<f16>() == 2 && size_of::<bf16>() == 2);

pub(super) const F32: Blocks = Blocks {
    len: 1,
    bytes: 4,
    activation: ActivationType::F32,
    dequantise: |row, out| dequantise(row, out, f32::from_le_bytes),
    dot: |row, activation, _| dot(row, activation, f32::from_le_bytes),
};

pub(super) const F16: Blocks = Blocks {
    len: 1,
    bytes: 2,
    activation: ActivationType::F32,
    dequantise: |row, out| dequantise(row, out, widen_f16),
    dot: |row, activation, _| dot(row, activation, widen_f16),
};

pub(super) const BF16: Blocks = Blocks {
    len: 1,
    bytes: 2,
    activation: ActivationType::F32,
    dequantise: |row, out| dequantise(row, out, widen_bf16),
    dot: |row, activation, _| dot(row, activation, widen_bf16),
};

/// Widens one weight.
type Widen<const BYTES: usize> = fn([u8; BYTES]) -> f32;

fn widen_f16(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

fn widen_bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

fn dequantise<const BYTES: usize>(row: &[u8], out: &mut [f32], widen: Widen<BYTES>) {
    for (w, bytes) in out.iter_mut().zip(row.as_chunks::<BYTES>().0) {
        *w = widen(*bytes);
    }
}

fn dot<const BYTES: usize>(row: &[u8], activation: &[u8], widen: Widen<BYTES>) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (i, (w, x)) in row.as_chunks::<BYTES>().0.iter().zip(activation.as_chunks::<4>().0).enumerate() {
        lanes[i % 8] += widen(*w) * f32::from_le_bytes(*x);
    }
    lanes.iter().sum()
}
