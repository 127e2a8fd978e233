//! The products of up to sixteen tokens: one weight row after another, sixteen groups of 32 columns at a time.
//!
//! A chunk of a weight row is unpacked once, with a group in each 32-bit lane as in [`super::activation`], and meets all
//! tokens while it is in registers. No lane is ever summed with another before the row's end, the weights are read in the
//! order in which they lie in memory, and nothing depends on how many rows and tokens a call has: a product adds, chunk
//! after chunk, the groups' exact integer dot products times weight scale times activation scale to sixteen lanes, then
//! the minima times the scaled activation sums, and sums the lanes at the end.

use std::arch::x86_64::*;

use super::activation;
use super::lanes::{each, prefetch};
use crate::kernels::FEW_TOKENS;
use crate::ops::matmul::MatmulArgs;

/// How far ahead of the only token's products weights are asked for. It matters to formats that take longest to unpack: Q6_K
/// moved 36 GB/s instead of 29 on two cores, as much at 1 KiB as at 2.
const AHEAD: usize = 2048;

/// Sixteen groups of a weight row.
///
/// With `S` of 1, a weight of group `g` is `scale[0][g] * (quant - OFFSET) + min[g]`. With `S` of 2, the first and the
/// last sixteen weights of a group have separate scales and there is no minimum.
pub(super) struct Chunk<const S: usize> {
    /// Unsigned; vector `c` has quants `4c..4c+4` of group `g` in lane `g`.
    pub(super) quants: [__m512i; 8],
    pub(super) scales: [__m512; S],
    pub(super) min: __m512,
}

/// The offset of formats with minima.
pub(super) const AFFINE: i16 = 0;

/// Multiplies blocks of `BYTES` bytes, of which `unpack` makes a chunk out of `BLOCKS`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const BLOCKS: usize, const S: usize, const OFFSET: i16>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(&[[u8; BYTES]; BLOCKS]) -> Chunk<S>,
) {
    match args.n_tokens {
        1 => one_token::<BYTES, BLOCKS, S, OFFSET>(args, unpack),
        _ => some_tokens::<BYTES, BLOCKS, S, OFFSET>(args, unpack),
    }
}

/// Multiplies all rows with the only token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn one_token<const BYTES: usize, const BLOCKS: usize, const S: usize, const OFFSET: i16>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(&[[u8; BYTES]; BLOCKS]) -> Chunk<S>,
) {
    let activations = activation::chunks(args.activations);
    let row_blocks = args.cols / args.format.block_len;
    let (n_whole, n_rest) = (row_blocks / BLOCKS, row_blocks % BLOCKS);
    let mut rows = args.weights.as_chunks::<BYTES>().0;
    for out in args.out.iter_mut() {
        let mut sum = _mm512_setzero_ps();
        for (blocks, activation) in rows.as_chunks::<BLOCKS>().0[..n_whole].iter().zip(activations) {
            prefetch::<_MM_HINT_T0>(blocks.as_flattened(), AHEAD);
            sum = unpack(blocks).add_product::<OFFSET>(activation, sum);
        }
        if n_rest > 0 {
            let chunk = unpack_rest(&rows[n_whole * BLOCKS..], n_rest, &unpack);
            sum = chunk.add_product::<OFFSET>(&activations[n_whole], sum);
        }
        rows = &rows[row_blocks..];
        *out = _mm512_reduce_add_ps(sum);
    }
}

/// Multiplies all rows with up to [`FEW_TOKENS`] tokens, two rows at a time: more of them at once were slower, since the
/// weights then come in more streams than the processor foresees.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn some_tokens<const BYTES: usize, const BLOCKS: usize, const S: usize, const OFFSET: i16>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(&[[u8; BYTES]; BLOCKS]) -> Chunk<S>,
) {
    let (n_rows, n_tokens, row_bytes) = (args.n_rows, args.n_tokens, args.activation_row_bytes());
    let row_blocks = args.cols / args.format.block_len;
    let blocks = args.weights.as_chunks::<BYTES>().0;
    for row in (0..n_rows).step_by(2) {
        // A row past the end repeats the last one and is not written.
        let pair = [row, (row + 1).min(n_rows - 1)];
        let rows = each(pair, |row| &blocks[row * row_blocks..]);
        let mut sums = [[_mm512_setzero_ps(); 2]; FEW_TOKENS];
        for c in 0..args.cols.div_ceil(activation::COLUMNS) {
            // What meets many tokens is too far from what comes next for the processor to ask for it in time.
            each(rows, |row| {
                let blocks = blocks_of::<BYTES, BLOCKS>(&row[..row_blocks], c);
                prefetch::<_MM_HINT_T1>(blocks.as_flattened(), 2 * row_blocks * BYTES)
            });
            let n_left = row_blocks - c * BLOCKS;
            let chunks = each(rows, |row| &row[c * BLOCKS..]);
            let chunks = [unpack_chunk(chunks[0], n_left, &unpack), unpack_chunk(chunks[1], n_left, &unpack)];
            let activations = &args.activations[c * size_of::<activation::Chunk>()..];
            add_products::<S, OFFSET>(&chunks, activations, row_bytes, &mut sums[..n_tokens]);
        }
        for (token, sums) in sums[..n_tokens].iter().enumerate() {
            let out = &mut args.out[token * n_rows..][row..n_rows.min(row + 2)];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = _mm512_reduce_add_ps(*sum));
        }
    }
}

/// Adds the products of the chunks of two rows and those of the tokens, `row_bytes` apart, to the tokens' sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_products<const S: usize, const OFFSET: i16>(
    chunks: &[Chunk<S>; 2],
    activations: &[u8],
    row_bytes: usize,
    sums: &mut [[__m512; 2]],
) {
    for (token, sums) in sums.iter_mut().enumerate() {
        let activation = activation::chunk_at(activations, token * row_bytes);
        for (sum, chunk) in sums.iter_mut().zip(chunks) {
            *sum = chunk.add_product::<OFFSET>(activation, *sum);
        }
    }
}

/// Unpacks the chunk that begins with `blocks`, of which `n_left` belong to the row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack_chunk<const BYTES: usize, const BLOCKS: usize, const S: usize>(
    blocks: &[[u8; BYTES]],
    n_left: usize,
    unpack: impl Fn(&[[u8; BYTES]; BLOCKS]) -> Chunk<S>,
) -> Chunk<S> {
    match blocks.first_chunk() {
        Some(blocks) if n_left >= BLOCKS => unpack(blocks),
        _ => unpack_rest(blocks, n_left, unpack),
    }
}

/// Unpacks the first `n` of the blocks, less than a chunk has.
///
/// Where more rows follow, what stands there is unpacked too, and then has neither scale nor minimum.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack_rest<const BYTES: usize, const BLOCKS: usize, const S: usize>(
    blocks: &[[u8; BYTES]],
    n: usize,
    unpack: impl Fn(&[[u8; BYTES]; BLOCKS]) -> Chunk<S>,
) -> Chunk<S> {
    let Some(all) = blocks.first_chunk() else {
        return unpack(&padded(&blocks[..n]));
    };
    let Chunk { quants, scales, min } = unpack(all);
    let of_row = ((1_u32 << (activation::GROUPS / BLOCKS * n)) - 1) as u16;
    let scales = each(scales, |scales| _mm512_maskz_mov_ps(of_row, scales));
    Chunk { quants, scales, min: _mm512_maskz_mov_ps(of_row, min) }
}

/// The blocks of chunk `c` of a row, fewer in its last one.
#[inline(always)]
fn blocks_of<const BYTES: usize, const BLOCKS: usize>(row: &[[u8; BYTES]], c: usize) -> &[[u8; BYTES]] {
    let rest = &row[c * BLOCKS..];
    rest.first_chunk::<BLOCKS>().map_or(rest, |blocks| blocks)
}

/// The blocks with blocks of zeros behind.
#[cold]
fn padded<const BYTES: usize, const BLOCKS: usize>(blocks: &[[u8; BYTES]]) -> [[u8; BYTES]; BLOCKS] {
    let mut padded = [[0; BYTES]; BLOCKS];
    padded[..blocks.len()].copy_from_slice(blocks);
    padded
}

impl<const S: usize> Chunk<S> {
    /// Adds the products of this chunk and one of an activation row to the lanes of `sum`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn add_product<const OFFSET: i16>(&self, activation: &activation::Chunk, mut sum: __m512) -> __m512 {
        let dots = self.multiply_quants::<OFFSET>(activation);
        let activation_scales = activation.scales();
        for (dots, scales) in dots.into_iter().zip(self.scales) {
            let scales = _mm512_mul_ps(scales, activation_scales);
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scales, sum);
        }
        if OFFSET == AFFINE {
            sum = _mm512_fmadd_ps(self.min, activation.scaled_sums(), sum);
        }
        sum
    }

    /// The dot products of the groups or, with `S` of 2, of their halves; exact.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn multiply_quants<const OFFSET: i16>(&self, activation: &activation::Chunk) -> [__m512i; S] {
        let mut dots = [_mm512_setzero_si512(); S];
        if OFFSET != AFFINE {
            let half_sums = activation.half_sums();
            // The sums of both halves, or of one for each of the two results.
            let offsets = if S == 1 { [[-OFFSET, -OFFSET]; 2] } else { [[-OFFSET, 0], [0, -OFFSET]] };
            for (dots, [first, last]) in dots.iter_mut().zip(offsets) {
                let pair = i32::from(first.cast_unsigned()) | i32::from(last) << 16;
                *dots = _mm512_dpwssd_epi32(*dots, half_sums, _mm512_set1_epi32(pair));
            }
        }
        for (c, &quants) in self.quants.iter().enumerate() {
            let at = c * S / 8;
            dots[at] = _mm512_dpbusd_epi32(dots[at], quants, activation.quants(c));
        }
        dots
    }
}
