//! Moving bytes into and out of vectors: the only loads and stores of the tier.
//!
//! Every load and store takes a reference to an array of the vector's size, so a caller cannot run past a slice.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::ops::attend::steps::Ahead;

/// Asks for row `i`, into the second-level cache.
#[inline(always)]
pub(super) fn prefetch_row(ahead: Ahead, i: usize) {
    let row = ahead.row(i);
    for line in 0..ahead.row_bytes.div_ceil(64) {
        let address = row.wrapping_add(64 * line);
        // SAFETY: a prefetch reads nothing that the program can see and does not fault at any address.
        unsafe { asm!("prfm pldl2keep, [{address}]", address = in(reg) address, options(nostack, preserves_flags)) };
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_16(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference covers 16 readable bytes; the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_16(x: uint8x16_t, out: &mut [u8; 16]) {
    // SAFETY: the reference covers 16 writable bytes; the store needs no alignment.
    unsafe { vst1q_u8(out.as_mut_ptr(), x) }
}

/// Four numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_f32(x: &[f32; 4]) -> float32x4_t {
    // SAFETY: the reference covers 16 readable bytes; the load needs no alignment beyond that of f32.
    unsafe { vld1q_f32(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_f32(x: float32x4_t, out: &mut [f32; 4]) {
    // SAFETY: the reference covers 16 writable bytes; the store needs no alignment beyond that of f32.
    unsafe { vst1q_f32(out.as_mut_ptr(), x) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_32(bytes: &[u8; 32]) -> [uint8x16_t; 2] {
    [load_16(part(bytes, 0)), load_16(part(bytes, 16))]
}

/// 32 signed bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_signed_32(bytes: &[u8; 32]) -> [int8x16_t; 2] {
    let [low, high] = load_32(bytes);
    [vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)]
}

/// Four single-precision numbers of unaligned bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_singles(bytes: &[u8; 16]) -> float32x4_t {
    vreinterpretq_f32_u8(load_16(bytes))
}

/// Four half-precision numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_halves(bytes: &[u8; 8]) -> float32x4_t {
    widen_halves(vcreate_u16(u64::from_le_bytes(*bytes)))
}

/// The numbers whose half-precision bits these are.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen_halves(bits: uint16x4_t) -> float32x4_t {
    vcvt_f32_f16(vreinterpret_f16_u16(bits))
}

/// `f` of each of four rows. Unlike `array::map` it is always inlined, so that vectors stay in registers.
#[inline(always)]
pub(super) fn each<T, U>([a, b, c, d]: [T; 4], f: impl Fn(T) -> U) -> [U; 4] {
    [f(a), f(b), f(c), f(d)]
}

/// The half-precision number of each of four rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn gather_half(rows: [&[u8; 2]; 4]) -> float32x4_t {
    let [a, b, c, d] = each(rows, |row| u16::from_le_bytes(*row));
    let bits = vset_lane_u16::<1>(b, vdup_n_u16(a));
    widen_halves(vset_lane_u16::<3>(d, vset_lane_u16::<2>(c, bits)))
}

/// Four bytes of each of four rows, one row per lane.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn gather_4(rows: [&[u8; 4]; 4]) -> uint32x4_t {
    let [a, b, c, d] = each(rows, |row| u32::from_le_bytes(*row));
    let words = vsetq_lane_u32::<1>(b, vdupq_n_u32(a));
    vsetq_lane_u32::<3>(d, vsetq_lane_u32::<2>(c, words))
}

/// The half-precision numbers in the lower and in the upper halves of the lanes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen_two_halves(words: uint32x4_t) -> [float32x4_t; 2] {
    [widen_halves(vmovn_u32(words)), widen_halves(vshrn_n_u32::<16>(words))]
}

/// Vector `c` of the result has lane `c` of vector `r` in lane `r`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn transpose([a, b, c, d]: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let (low_ac, high_ac) = (vzip1q_u32(a, c), vzip2q_u32(a, c));
    let (low_bd, high_bd) = (vzip1q_u32(b, d), vzip2q_u32(b, d));
    [vzip1q_u32(low_ac, low_bd), vzip2q_u32(low_ac, low_bd), vzip1q_u32(high_ac, high_bd), vzip2q_u32(high_ac, high_bd)]
}

/// The `N` bytes of `bytes` from `at` on, for constant `at`: the check vanishes when both are known.
#[inline(always)]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("the part lies inside the block")
}

/// What is left after the last whole `N` numbers, with zeros behind.
#[inline(always)]
pub(super) fn padded_tail<T: Copy + Default, const N: usize>(x: &[T]) -> [T; N] {
    padded(x.as_chunks::<N>().1)
}

/// `x` with zeros behind.
#[inline(always)]
pub(super) fn padded<T: Copy + Default, const N: usize>(x: &[T]) -> [T; N] {
    let mut padded = [T::default(); N];
    padded[..x.len()].copy_from_slice(x);
    padded
}
