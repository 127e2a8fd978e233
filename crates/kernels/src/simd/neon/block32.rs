//! The products of the formats with blocks of 32.
//!
//! Per block, row and token: the exact integer dot product, one product with the weight scale, one fused addition of the
//! minimum times the activation sum (formats with minima), one fused addition of that times the activation scale.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::dot::{Dot, dot_rows};
use super::lanes::{each, load_signed_32};
use super::layout::{Layout, floats_per_row, floats_per_token, pair_tokens};
use super::panels::{self, Panels, Unit};
use super::tiles::{self, Tile, activation_row, four_rows};
use crate::activation::{Q8_1Chunk, Q8_1Row};
use crate::ops::matmul::MatmulArgs;

/// Blocks in a chunk of 256 columns, whose lengths are checked together.
const DEPTH: usize = 8;

/// Whether a format has minima.
pub(super) const SYMMETRIC: bool = false;
pub(super) const AFFINE: bool = true;

/// One block of four rows: weights are `scale * quant` or, in affine formats, `scale * quant + min`.
pub(super) struct Block {
    pub(super) quants: [[int8x16_t; 2]; 4],
    pub(super) scale: float32x4_t,
    pub(super) min: float32x4_t,
}

/// Multiplies blocks of `BYTES` bytes, which `unpack` makes of four rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn matmul<D: Dot, const BYTES: usize, const MINIMA: bool>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn([&[u8; BYTES]; 4]) -> Block,
) {
    let format = Blocks::<D, _, BYTES, MINIMA> { unpack, dot: PhantomData };
    if args.n_tokens < D::PANELS_FROM {
        tiles::matmul(args, &format);
    } else {
        panels::matmul(args, &format);
    }
}

/// A format by its unpacking.
struct Blocks<D, U, const BYTES: usize, const MINIMA: bool> {
    unpack: U,
    dot: PhantomData<D>,
}

/// Few tokens, whose sums of lanes need no arranged weights.
impl<D: Dot, U: Fn([&[u8; BYTES]; 4]) -> Block, const BYTES: usize, const MINIMA: bool> Tile
    for Blocks<D, U, BYTES, MINIMA>
{
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply<const T: usize>(&self, args: &MatmulArgs<'_>, row: usize, token: usize) -> [float32x4_t; T] {
        let rows = four_rows::<BYTES>(args, row);
        let tokens: [_; T] = std::array::from_fn(|t| Q8_1Row::new(activation_row(args, token + t), args.cols));
        let mut sums = [vdupq_n_f32(0.0); T];
        let whole = rows[0].len() / DEPTH;
        for c in 0..whole {
            let rows: [&[_; DEPTH]; 4] = each(rows, |row| &row.as_chunks().0[c]);
            self.add_products(rows, tokens.each_ref().map(|token| token.chunk(c * DEPTH)), &mut sums);
        }
        for b in whole * DEPTH..rows[0].len() {
            let rows: [&[_; 1]; 4] = each(rows, |row| &row.as_chunks().0[b]);
            self.add_products(rows, tokens.each_ref().map(|token| token.chunk(b)), &mut sums);
        }
        sums
    }
}

impl<D: Dot, U: Fn([&[u8; BYTES]; 4]) -> Block, const BYTES: usize, const MINIMA: bool> Blocks<D, U, BYTES, MINIMA> {
    /// Adds the products of `N` blocks of four rows and of `T` tokens.
    #[inline]
    #[target_feature(enable = "neon")]
    fn add_products<const T: usize, const N: usize>(
        &self,
        rows: [&[[u8; BYTES]; N]; 4],
        tokens: [Q8_1Chunk<'_, N>; T],
        sums: &mut [float32x4_t; T],
    ) {
        for b in 0..N {
            let block = (self.unpack)(each(rows, |row| &row[b]));
            for (sum, token) in sums.iter_mut().zip(&tokens) {
                let dots = dot_rows::<D>(&block.quants, load_signed_32(&token.quants[b]));
                let mut value = vmulq_f32(block.scale, vcvtq_f32_s32(dots));
                if MINIMA {
                    value = vfmaq_n_f32(value, block.min, f32::from(i16::from_le_bytes(token.sums[b])));
                }
                *sum = vfmaq_n_f32(*sum, value, f32::from_le_bytes(token.scales[b]));
            }
        }
    }
}

/// A block of four rows, arranged.
#[derive(Clone, Copy)]
struct Rows {
    quants: [[int8x16_t; 4]; 2],
    scale: Unit,
    min: Unit,
}

/// A block of two tokens, arranged.
#[derive(Clone, Copy)]
struct Tokens {
    quants: [[int8x16_t; 2]; 2],
    scales: [f32; 2],
    sums: [f32; 2],
}

/// Up to eight blocks.
#[derive(Clone, Copy)]
struct Chunk<B> {
    blocks: [B; DEPTH],
    len: usize,
}

impl<D: Dot, U: Fn([&[u8; BYTES]; 4]) -> Block, const BYTES: usize, const MINIMA: bool> Panels
    for Blocks<D, U, BYTES, MINIMA>
{
    const WIDE: bool = D::WIDE;
    type Layout = D::Layout;
    type Rows = Chunk<Rows>;
    type Tokens = Chunk<Tokens>;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn empty(&self) -> (Chunk<Rows>, Chunk<Tokens>) {
        let (zero, zeros) = (vdupq_n_s8(0), [vdupq_n_f32(0.0); 2]);
        let rows = Rows { quants: [[zero; 4]; 2], scale: zeros, min: zeros };
        let tokens = Tokens { quants: [[zero; 2]; 2], scales: [0.0; 2], sums: [0.0; 2] };
        (Chunk { blocks: [rows; DEPTH], len: 0 }, Chunk { blocks: [tokens; DEPTH], len: 0 })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn arrange_rows(&self, args: &MatmulArgs<'_>, row: usize, chunk: usize, out: &mut Chunk<Rows>) {
        let rows = four_rows::<BYTES>(args, row);
        out.len = DEPTH.min(rows[0].len() - chunk * DEPTH);
        let rows = each(rows, |row| &row[chunk * DEPTH..][..out.len]);
        for (b, out) in out.blocks[..out.len].iter_mut().enumerate() {
            let Block { quants, scale, min } = (self.unpack)(each(rows, |row| &row[b]));
            let [first, last] = [each(quants, |row| row[0]), each(quants, |row| row[1])];
            out.quants = [D::Layout::arrange_16(first), D::Layout::arrange_16(last)];
            out.scale = floats_per_row::<D::Layout>(scale);
            out.min = floats_per_row::<D::Layout>(min);
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn arrange_tokens(&self, args: &MatmulArgs<'_>, tokens: [usize; 2], chunk: usize, out: &mut Chunk<Tokens>) {
        let first = chunk * DEPTH;
        let tokens = tokens.map(|token| Q8_1Row::new(activation_row(args, token), args.cols));
        out.len = DEPTH.min(args.cols / 32 - first);
        for (b, out) in out.blocks[..out.len].iter_mut().enumerate() {
            let (a, b) = (tokens[0].chunk::<1>(first + b), tokens[1].chunk::<1>(first + b));
            let (a_quants, b_quants) = (load_signed_32(&a.quants[0]), load_signed_32(&b.quants[0]));
            out.quants = [pair_tokens([a_quants[0], b_quants[0]]), pair_tokens([a_quants[1], b_quants[1]])];
            out.scales = [f32::from_le_bytes(a.scales[0]), f32::from_le_bytes(b.scales[0])];
            out.sums = [f32::from(i16::from_le_bytes(a.sums[0])), f32::from(i16::from_le_bytes(b.sums[0]))];
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply<const Q: usize, const P: usize>(
        rows: &[Chunk<Rows>; Q],
        tokens: &[Chunk<Tokens>; P],
        sums: &mut [[Unit; P]; Q],
    ) {
        let mut totals = *sums;
        for b in 0..rows[0].len.min(DEPTH) {
            for q in 0..Q {
                add_block::<D, P, MINIMA>(&rows[q].blocks[b], tokens, b, &mut totals[q]);
            }
        }
        *sums = totals;
    }
}

/// Adds the products of a block of four rows and block `b` of `2 P` tokens.
#[inline]
#[target_feature(enable = "neon")]
fn add_block<D: Dot, const P: usize, const MINIMA: bool>(
    rows: &Rows,
    tokens: &[Chunk<Tokens>; P],
    b: usize,
    totals: &mut [Unit; P],
) {
    let mut sums = [D::zero(); P];
    for half in 0..2 {
        for p in 0..P {
            sums[p] = D::add_16(sums[p], rows.quants[half], tokens[p].blocks[b].quants[half]);
        }
    }
    for p in 0..P {
        let (dots, tokens) = (D::total(sums[p]), &tokens[p].blocks[b]);
        let scales = floats_per_token::<D::Layout>(tokens.scales);
        let activation_sums = floats_per_token::<D::Layout>(tokens.sums);
        for i in 0..2 {
            let mut value = vmulq_f32(rows.scale[i], vcvtq_f32_s32(dots[i]));
            if MINIMA {
                value = vfmaq_f32(value, rows.min[i], activation_sums[i]);
            }
            totals[p][i] = vfmaq_f32(totals[p][i], value, scales[i]);
        }
    }
}
