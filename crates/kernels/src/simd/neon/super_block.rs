//! The products of the formats with super-blocks of 256.
//!
//! The dot products of the groups are multiplied with the groups' integer scales and summed exactly; minima meet the
//! activation sums the same way. Per super-block, row and token: `d * dots - dmin * mins` (formats with minima) or
//! `d * dots`, then one fused addition of that times the activation scale.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::dot::{Dot, dot_rows, sum_lanes};
use super::lanes::{each, load_32, load_signed_32, part};
use super::layout::{Layout, floats_per_row, floats_per_token, integers_per_row, pair_tokens};
use super::panels::{self, Panels, Unit};
use super::tiles::{self, Tile, activation_row, four_rows};
use crate::activation::Q8KRow;
use crate::ops::matmul::MatmulArgs;

/// What is not quants in one super-block of four rows with `GROUPS` groups of equal length.
///
/// A weight of group `g` is `d * scales[g] * quant`, less `dmin` times the minimum of its run of 32 if there are eight
/// groups.
pub(super) struct Header<const GROUPS: usize> {
    pub(super) d: float32x4_t,
    pub(super) scales: [int32x4_t; GROUPS],
    pub(super) minus_dmin: float32x4_t,
    /// The minima, less than 64, of runs 0 to 3 of each row and of runs 4 to 7.
    pub(super) mins: [uint8x16_t; 2],
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
    let format = SuperBlocks::<D, _, _, BYTES, GROUPS> { header, quants, dot: PhantomData };
    if args.n_tokens < D::PANELS_FROM {
        tiles::matmul(args, &format);
    } else {
        panels::matmul(args, &format);
    }
}

/// A format by its unpacking.
struct SuperBlocks<D, H, Q, const BYTES: usize, const GROUPS: usize> {
    header: H,
    quants: Q,
    dot: PhantomData<D>,
}

/// Few tokens, whose sums of lanes need no arranged weights.
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
            let mins = minima_of_rows(header.mins);
            for t in 0..T {
                let dots = vcvtq_f32_s32(dots[t]);
                let value = if GROUPS == 8 {
                    let mins = vcvtq_f32_s32(dot_minima(&mins, tokens[t].sum_bytes(b)));
                    vfmaq_f32(vmulq_f32(header.minus_dmin, mins), header.d, dots)
                } else {
                    vmulq_f32(header.d, dots)
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
            self.visit_half(block, half, |run, quants| {
                for t in 0..T {
                    let token = load_signed_32(part(tokens[t], 32 * run));
                    dots[t] = add_scaled::<D, GROUPS>(dots[t], &quants, token, scales, run);
                }
            });
        }
        dots
    }

    /// Calls `visit` with the number and the quants of the four runs of a half; the place of a run in its half is a constant
    /// so that the compiler knows how it is packed.
    #[inline]
    #[target_feature(enable = "neon")]
    fn visit_half(&self, block: [&[u8; BYTES]; 4], half: usize, mut visit: impl FnMut(usize, [[int8x16_t; 2]; 4])) {
        visit(4 * half, (self.quants)(block, half, 0));
        visit(4 * half + 1, (self.quants)(block, half, 1));
        visit(4 * half + 2, (self.quants)(block, half, 2));
        visit(4 * half + 3, (self.quants)(block, half, 3));
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

/// The eight minima of each row, as 16-bit numbers.
#[inline]
#[target_feature(enable = "neon")]
fn minima_of_rows(mins: [uint8x16_t; 2]) -> [int16x8_t; 4] {
    let (first, last) = (vreinterpretq_u32_u8(mins[0]), vreinterpretq_u32_u8(mins[1]));
    let rows_01 = vreinterpretq_u8_u32(vzip1q_u32(first, last));
    let rows_23 = vreinterpretq_u8_u32(vzip2q_u32(first, last));
    let rows = [vget_low_u8(rows_01), vget_high_u8(rows_01), vget_low_u8(rows_23), vget_high_u8(rows_23)];
    each(rows, |row| vreinterpretq_s16_u16(vmovl_u8(row)))
}

/// The exact sums of the minima times the activation sums of their runs.
#[inline]
#[target_feature(enable = "neon")]
fn dot_minima(mins: &[int16x8_t; 4], sums: &[u8; 32]) -> int32x4_t {
    let runs = sums_of_runs(sums);
    sum_lanes(each(*mins, |mins| {
        let products = vmull_s16(vget_low_s16(mins), vget_low_s16(runs));
        vmlal_high_s16(products, mins, runs)
    }))
}

/// The sums of the eight runs of 32 quants, given those of the sixteen runs of 16.
#[inline]
#[target_feature(enable = "neon")]
fn sums_of_runs(sums: &[u8; 32]) -> int16x8_t {
    let [low, high] = load_32(sums);
    vpaddq_s16(vreinterpretq_s16_u8(low), vreinterpretq_s16_u8(high))
}

/// A super-block of four rows, arranged.
#[derive(Clone, Copy)]
struct Rows<const GROUPS: usize> {
    /// By run of 32 and half of it.
    quants: [[[int8x16_t; 4]; 2]; 8],
    scales: [[int32x4_t; 2]; GROUPS],
    d: Unit,
    minus_dmin: Unit,
    mins: [int8x16_t; 2],
}

/// A super-block of two tokens, arranged.
#[derive(Clone, Copy)]
struct Tokens {
    quants: [[[int8x16_t; 2]; 2]; 8],
    scales: [f32; 2],
    /// The sums of the runs, as 128ths and what is left: less than 2^12 in magnitude, they are two signed bytes.
    sums: [int8x16_t; 2],
}

impl<D, H, Q, const BYTES: usize, const GROUPS: usize> Panels for SuperBlocks<D, H, Q, BYTES, GROUPS>
where
    D: Dot,
    H: Fn([&[u8; BYTES]; 4]) -> Header<GROUPS>,
    Q: Fn([&[u8; BYTES]; 4], usize, usize) -> [[int8x16_t; 2]; 4],
{
    const WIDE: bool = D::WIDE;
    type Layout = D::Layout;
    type Rows = Rows<GROUPS>;
    type Tokens = Tokens;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn empty(&self) -> (Rows<GROUPS>, Tokens) {
        let (zero, zeros) = (vdupq_n_s8(0), [vdupq_n_f32(0.0); 2]);
        let (quants, scales) = ([[[zero; 4]; 2]; 8], [[vdupq_n_s32(0); 2]; GROUPS]);
        let rows = Rows { quants, scales, d: zeros, minus_dmin: zeros, mins: [zero; 2] };
        (rows, Tokens { quants: [[[zero; 2]; 2]; 8], scales: [0.0; 2], sums: [zero; 2] })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn arrange_rows(&self, args: &MatmulArgs<'_>, row: usize, chunk: usize, out: &mut Rows<GROUPS>) {
        let block = each(four_rows::<BYTES>(args, row), |row| &row[chunk]);
        let header = (self.header)(block);
        out.d = floats_per_row::<D::Layout>(header.d);
        for (out, scales) in out.scales.iter_mut().zip(header.scales) {
            *out = integers_per_row::<D::Layout>(scales);
        }
        if GROUPS == 8 {
            out.minus_dmin = floats_per_row::<D::Layout>(header.minus_dmin);
            let [first, last] = header.mins;
            out.mins = D::Layout::arrange_8([vreinterpretq_s8_u8(first), vreinterpretq_s8_u8(last)]);
        }
        for half in 0..2 {
            self.visit_half(block, half, |run, quants| {
                let [first, last] = [each(quants, |row| row[0]), each(quants, |row| row[1])];
                out.quants[run] = [D::Layout::arrange_16(first), D::Layout::arrange_16(last)];
            });
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn arrange_tokens(&self, args: &MatmulArgs<'_>, tokens: [usize; 2], chunk: usize, out: &mut Tokens) {
        let [a, b] = tokens.map(|token| Q8KRow::new(activation_row(args, token), args.cols));
        let (a_quants, b_quants) = (a.quants(chunk).as_chunks::<32>().0, b.quants(chunk).as_chunks::<32>().0);
        for ((out, a), b) in out.quants.iter_mut().zip(a_quants).zip(b_quants) {
            let (a, b) = (load_signed_32(a), load_signed_32(b));
            *out = [pair_tokens([a[0], b[0]]), pair_tokens([a[1], b[1]])];
        }
        out.scales = [a.scale(chunk), b.scale(chunk)];
        if GROUPS == 8 {
            let (a, b) = (sums_of_runs(a.sum_bytes(chunk)), sums_of_runs(b.sum_bytes(chunk)));
            let upper = vmovn_high_s16(vmovn_s16(vshrq_n_s16::<7>(a)), vshrq_n_s16::<7>(b));
            let lower = vmovn_high_s16(vmovn_s16(a), b);
            out.sums = [upper, vandq_s8(lower, vdupq_n_s8(127))];
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply<const R: usize, const P: usize>(
        rows: &[Rows<GROUPS>; R],
        tokens: &[Tokens; P],
        sums: &mut [[Unit; P]; R],
    ) {
        let mut dots = [[[vdupq_n_s32(0); 2]; P]; R];
        for run in 0..8 {
            for r in 0..R {
                add_run::<D, P, GROUPS>(&rows[r], tokens, run, &mut dots[r]);
            }
        }
        for r in 0..R {
            for p in 0..P {
                add_products::<D, GROUPS>(&rows[r], &tokens[p], dots[r][p], &mut sums[r][p]);
            }
        }
    }
}

/// Adds the scaled dot products of a run of 32 quants of four rows and of `2 P` tokens.
#[inline]
#[target_feature(enable = "neon")]
fn add_run<D: Dot, const P: usize, const GROUPS: usize>(
    rows: &Rows<GROUPS>,
    tokens: &[Tokens; P],
    run: usize,
    dots: &mut [[int32x4_t; 2]; P],
) {
    let mut sums = [D::zero(); P];
    for half in 0..2 {
        for p in 0..P {
            sums[p] = D::add_16(sums[p], rows.quants[run][half], tokens[p].quants[run][half]);
        }
        if GROUPS == 16 {
            scale::<D, P>(&mut sums, rows.scales[2 * run + half], dots);
        }
    }
    if GROUPS == 8 {
        scale::<D, P>(&mut sums, rows.scales[run], dots);
    }
}

/// Adds the sums times the scales to `dots` and starts new sums.
#[inline]
#[target_feature(enable = "neon")]
fn scale<D: Dot, const P: usize>(sums: &mut [D::Sums; P], scales: [int32x4_t; 2], dots: &mut [[int32x4_t; 2]; P]) {
    for p in 0..P {
        let total = D::total(sums[p]);
        dots[p] = [vmlaq_s32(dots[p][0], total[0], scales[0]), vmlaq_s32(dots[p][1], total[1], scales[1])];
        sums[p] = D::zero();
    }
}

/// Adds the products of a super-block of four rows and two tokens, given its scaled dot products.
#[inline]
#[target_feature(enable = "neon")]
fn add_products<D: Dot, const GROUPS: usize>(
    rows: &Rows<GROUPS>,
    tokens: &Tokens,
    dots: [int32x4_t; 2],
    sums: &mut Unit,
) {
    let scales = floats_per_token::<D::Layout>(tokens.scales);
    let mut values = [vdupq_n_f32(0.0); 2];
    if GROUPS == 8 {
        let upper = D::total(D::add_8(D::zero(), rows.mins, tokens.sums[0]));
        let lower = D::total(D::add_8(D::zero(), rows.mins, tokens.sums[1]));
        for i in 0..2 {
            let mins = vcvtq_f32_s32(vaddq_s32(vshlq_n_s32::<7>(upper[i]), lower[i]));
            values[i] = vfmaq_f32(vmulq_f32(rows.minus_dmin[i], mins), rows.d[i], vcvtq_f32_s32(dots[i]));
        }
    } else {
        for i in 0..2 {
            values[i] = vmulq_f32(rows.d[i], vcvtq_f32_s32(dots[i]));
        }
    }
    *sums = [vfmaq_f32(sums[0], values[0], scales[0]), vfmaq_f32(sums[1], values[1], scales[1])];
}
