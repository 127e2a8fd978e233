//! Q6_K: nibbles and upper bit pairs of sixteen rows, with a signed scale per 16 weights.

use std::arch::x86_64::*;

use super::few::{self, Chunk};
use super::lanes::{
    Rows, ZERO, each, gather_half, load_16, load_64, load_lanes, part, pick_bytes, transpose_16, transpose_32,
};
use super::q4::{high, low};
use super::q4_k::spread_runs;
use super::super_block::{self, Panel};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<210, 2, 2, 32>(args, |blocks| chunk(blocks));
    }
    super_block::matmul::<210, 16>(args, |rows, panel| {
        unpack_scales(each(rows, |row| part(row, 192)), gather_half(each(rows, |row| part(row, 208))), panel);
        for (half, runs) in panel.quants.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let first = transpose_32(each(rows, |row| part(row, 64 * half)));
            let second = transpose_32(each(rows, |row| part(row, 64 * half + 32)));
            let upper = transpose_32(each(rows, |row| part(row, 128 + 32 * half)));
            for c in 0..8 {
                runs[0][c] = _mm512_or_si512(low(first[c]), bits_4_5(_mm512_slli_epi16::<4>(upper[c])));
                runs[1][c] = _mm512_or_si512(low(second[c]), bits_4_5(_mm512_slli_epi16::<2>(upper[c])));
                runs[2][c] = _mm512_or_si512(high(first[c]), bits_4_5(upper[c]));
                runs[3][c] = _mm512_or_si512(high(second[c]), bits_4_5(_mm512_srli_epi16::<2>(upper[c])));
            }
        }
    });
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn bits_4_5(bytes: __m512i) -> __m512i {
    _mm512_and_si512(bytes, _mm512_set1_epi8(0x30))
}

/// Widens the sixteen signed scales and multiplies them with `d`; the minima are the scales times -32, the weights' offset.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack_scales(rows: Rows<&[u8; 16]>, d: __m512, panel: &mut Panel<16>) {
    for (i, four) in transpose_16(rows).into_iter().enumerate() {
        // A scale in the upper byte of a wider number is then shifted down with its sign.
        for byte in 0..4 {
            let upper = pick_bytes(four, [ZERO, ZERO, ZERO, byte as i8]);
            panel.scales[4 * i + byte] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(upper)));
        }
        for pair in 0..2 {
            let upper = pick_bytes(four, [ZERO, 2 * pair, ZERO, 2 * pair + 1]);
            let times_32 = _mm512_srai_epi16::<3>(upper);
            panel.mins[2 * i + pair as usize] = _mm512_sub_epi16(_mm512_setzero_si512(), times_32);
        }
    }
    panel.min_scale = d;
}

/// Two consecutive blocks of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk(blocks: &[[u8; 210]; 2]) -> Chunk<2> {
    // Of the four groups in each half of a block, two share the low halves of two runs of 32 bytes, two the high.
    const RUNS: [usize; 8] = [0, 1, 0, 1, 2, 3, 2, 3];
    const SHIFTS: [i32; 16] = [0, 0, 4, 4, 0, 0, 4, 4, 0, 0, 4, 4, 0, 0, 4, 4];
    let nibbles = spread_runs(each(blocks.each_ref(), |block| part(block, 0)), &RUNS);
    let mut quants = each(nibbles, |bytes| low(_mm512_srlv_epi32(bytes, load_lanes(&SHIFTS))));
    let [first, second] = each(blocks.each_ref(), |block| load_64(part(block, 128)));
    // Bit pair `g % 4` of a byte belongs to group `g`; turning the lane brings it to bits 4 and 5.
    const TURNS: [i32; 16] = [4, 2, 0, 30, 4, 2, 0, 30, 4, 2, 0, 30, 4, 2, 0, 30];
    for (c, quants) in quants.iter_mut().enumerate() {
        let order: [i32; 16] = std::array::from_fn(|g| (g / 4 * 8 + c) as i32);
        let pairs = _mm512_permutex2var_epi32(first, load_lanes(&order), second);
        *quants = _mm512_or_si512(*quants, bits_4_5(_mm512_rolv_epi32(pairs, load_lanes(&TURNS))));
    }
    Chunk { quants, scales: group_scales(blocks), min: _mm512_setzero_ps() }
}

/// The scales of the first and of the last sixteen weights of each group.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn group_scales(blocks: &[[u8; 210]; 2]) -> [__m512; 2] {
    let [first, second] = each(blocks.each_ref(), |block| load_16(part(block, 192)));
    let pairs = _mm512_cvtepi16_epi32(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(first), second));
    let [first, second] = each(blocks.each_ref(), |block| {
        let d = _mm_cvtsi32_si128(i32::from(u16::from_le_bytes(*part(block, 208))));
        _mm512_broadcastss_ps(_mm_cvtph_ps(d))
    });
    let d = _mm512_mask_blend_ps(0xFF00, first, second);
    let scale = |lanes| _mm512_mul_ps(d, _mm512_cvtepi32_ps(lanes));
    [scale(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(pairs))), scale(_mm512_srai_epi32::<8>(pairs))]
}
