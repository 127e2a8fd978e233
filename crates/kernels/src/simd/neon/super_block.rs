//! The products of the formats with super-blocks of 256.
//!
//! The dot products of the groups are multiplied with the groups' integer scales and summed exactly; minima meet the
//! activation sums the same way. Per super-block, row and token: `d * dots - dmin * mins` (formats with minima) or
//! `d * dots`, then one fused addition of that times the activation scale.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::dot::{Dot, dot_rows, sum_lanes};
use super::lanes::{each, load_32, load_signed_32, part};
use super::tiles::{self, Tile, activation_row, four_rows};
use crate::activation::Q8KRow;
use crate::ops::MatmulArgs;

/// What is not quants in one super-block of four rows with `GROUPS` groups of equal length.
///
/// A weight of group `g` is `d * scales[g] * quant`, less `dmin` times the minimum of its run of 32.
pub(super) struct Header<const GROUPS: usize> {
    pub(super) d: float32x4_t,
    pub(super) scales: [int32x4_t; GROUPS],
    pub(super) minima: Option<Minima>,
}

/// The minima of the eight runs of 32.
pub(super) struct Minima {
    pub(super) minus_dmin: float32x4_t,
    /// By row.
    pub(super) mins: [int16x8_t; 4],
}

/// Multiplies super-blocks of `BYTES` bytes.
///
/// `header` unpacks the scales of four rows, `quants` 32 of their quants: of half 0 or 1 of the block run 0, 1, 2 or 3.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn matmul<D: Dot, const BYTES: usize, const GROUPS: usize>(
    args: &mut MatmulArgs<'_>,
    header: impl Fn([&[u8; BYTES]; 4]) -> Header<GROUPS>,
    quants: impl Fn([&[u8; BYTES]; 4], usize, usize) -> [[int8x16_t; 2]; 4],
) {
    tiles::matmul(args, &SuperBlocks::<D, _, _, BYTES, GROUPS> { header, quants, dot: PhantomData });
}

/// A format by its unpacking.
struct SuperBlocks<D, H, Q, const BYTES: usize, const GROUPS: usize> {
    header: H,
    quants: Q,
    dot: PhantomData<D>,
}

impl<D, H, Q, const BYTES: usize, const GROUPS: usize> Tile for SuperBlocks<D, H, Q, BYTES, GROUPS>
where
    D: Dot,
    H: Fn([&[u8; BYTES]; 4]) -> Header<GROUPS>,
    Q: Fn([&[u8; BYTES]; 4], usize, usize) -> [[int8x16_t; 2]; 4],
{
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply<const T: usize>(&self, args: &MatmulArgs<'_>, row: usize, token: usize) -> [float32x4_t; T] {
        let rows = four_rows::<BYTES>(args, row);
        let tokens: [_; T] = std::array::from_fn(|t| Q8KRow::new(activation_row(args, token + t), args.cols));
        let mut sums = [vdupq_n_f32(0.0); T];
        for b in 0..args.cols / 256 {
            let block = each(rows, |row| &row[b]);
            let header = (self.header)(block);
            let dots = self.dot_block(block, &header.scales, tokens.each_ref().map(|token| token.quants(b)));
            for t in 0..T {
                let dots = vcvtq_f32_s32(dots[t]);
                let value = match &header.minima {
                    None => vmulq_f32(header.d, dots),
                    Some(minima) => {
                        let mins = vcvtq_f32_s32(dot_minima(&minima.mins, tokens[t].sum_bytes(b)));
                        vfmaq_f32(vmulq_f32(minima.minus_dmin, mins), header.d, dots)
                    }
                };
                sums[t] = vfmaq_n_f32(sums[t], value, tokens[t].scale(b));
            }
        }
        sums
    }
}

impl<D, H, Q, const BYTES: usize, const GROUPS: usize> SuperBlocks<D, H, Q, BYTES, GROUPS>
where
    D: Dot,
    Q: Fn([&[u8; BYTES]; 4], usize, usize) -> [[int8x16_t; 2]; 4],
{
    /// The scaled dot products of one super-block of four rows and of `T` tokens.
    #[inline]
    #[target_feature(enable = "neon")]
    fn dot_block<const T: usize>(
        &self,
        block: [&[u8; BYTES]; 4],
        scales: &[int32x4_t; GROUPS],
        tokens: [&[u8; 256]; T],
    ) -> [int32x4_t; T] {
        let mut dots = [vdupq_n_s32(0); T];
        for half in 0..2 {
            self.add_run::<T, 0>(block, half, scales, tokens, &mut dots);
            self.add_run::<T, 1>(block, half, scales, tokens, &mut dots);
            self.add_run::<T, 2>(block, half, scales, tokens, &mut dots);
            self.add_run::<T, 3>(block, half, scales, tokens, &mut dots);
        }
        dots
    }

    /// Adds the dot products of run `IN_HALF` of a half, a constant so that the compiler knows how the run is packed.
    #[inline]
    #[target_feature(enable = "neon")]
    fn add_run<const T: usize, const IN_HALF: usize>(
        &self,
        block: [&[u8; BYTES]; 4],
        half: usize,
        scales: &[int32x4_t; GROUPS],
        tokens: [&[u8; 256]; T],
        dots: &mut [int32x4_t; T],
    ) {
        let quants = (self.quants)(block, half, IN_HALF);
        let run = 4 * half + IN_HALF;
        for (dots, token) in dots.iter_mut().zip(tokens) {
            *dots = add_scaled::<D, GROUPS>(*dots, &quants, load_signed_32(part(token, 32 * run)), scales, run);
        }
    }
}

/// Adds the dot products of a run of 32 quants of four rows, scaled per 32 or, with sixteen groups, per 16.
#[inline]
#[target_feature(enable = "neon")]
fn add_scaled<D: Dot, const GROUPS: usize>(
    sum: int32x4_t,
    rows: &[[int8x16_t; 2]; 4],
    [low, high]: [int8x16_t; 2],
    scales: &[int32x4_t; GROUPS],
    run: usize,
) -> int32x4_t {
    if GROUPS == 8 {
        return vmlaq_s32(sum, dot_rows::<D>(rows, [low, high]), scales[run]);
    }
    let dots = |half: usize, token: int8x16_t| sum_lanes(each(*rows, |row| D::dot(vdupq_n_s32(0), row[half], token)));
    let sum = vmlaq_s32(sum, dots(0, low), scales[2 * run]);
    vmlaq_s32(sum, dots(1, high), scales[2 * run + 1])
}

/// The exact sums of the minima times the activation sums of their runs.
#[inline]
#[target_feature(enable = "neon")]
fn dot_minima(mins: &[int16x8_t; 4], sums: &[u8; 32]) -> int32x4_t {
    let [low, high] = load_32(sums);
    let runs = vpaddq_s16(vreinterpretq_s16_u8(low), vreinterpretq_s16_u8(high));
    sum_lanes(each(*mins, |mins| {
        let products = vmull_s16(vget_low_s16(mins), vget_low_s16(runs));
        vmlal_high_s16(products, mins, runs)
    }))
}
