//! Q4_K: nibbles and 6-bit scales of sixteen rows, unpacked in lanes.

use std::arch::x86_64::*;

use super::few::{self, Chunk};
use super::lanes::{
    Rows, ZERO, each, load_16, load_64, load_lanes, part, pick_bytes, transpose_16, transpose_32, widen_two_halves,
};
use super::q4::{high, low};
use super::super_block::{self, Panel};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<144, 2, 1, { few::AFFINE }>(args, |blocks| chunk(blocks));
    }
    super_block::matmul::<144, 8>(args, |rows, panel| {
        unpack_scales(each(rows, |row| part(row, 0)), panel);
        for (i, pair) in panel.quants.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let bytes = transpose_32(each(rows, |row| part(row, 16 + 32 * i)));
            for c in 0..8 {
                pair[0][c] = low(bytes[c]);
                pair[1][c] = high(bytes[c]);
            }
        }
    });
}

/// Unpacks the 16 bytes that open a Q4_K or Q5_K block: `f16 d, f16 dmin` and twelve bytes of scales and minima.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn unpack_scales(rows: Rows<&[u8; 16]>, panel: &mut Panel<8>) {
    let [halves, scales, mins, both] = transpose_16(rows);
    let [d, dmin] = widen_two_halves(halves);
    let (six, two) = (_mm512_set1_epi8(63), _mm512_set1_epi8(0x30));
    let top = |bytes| _mm512_and_si512(_mm512_srli_epi16::<2>(bytes), two);
    let scales = [_mm512_and_si512(scales, six), _mm512_or_si512(low(both), top(scales))];
    let mins = [_mm512_and_si512(mins, six), _mm512_or_si512(high(both), top(mins))];
    for g in 0..8 {
        let widen = |bytes| _mm512_cvtepi32_ps(pick_bytes(bytes, [g as i8 % 4, ZERO, ZERO, ZERO]));
        panel.scales[g] = _mm512_mul_ps(d, widen(scales[g / 4]));
    }
    for (pair, panel) in panel.mins[..4].iter_mut().enumerate() {
        let first = pair as i8 % 2 * 2;
        *panel = pick_bytes(mins[pair / 2], [first, ZERO, first + 1, ZERO]);
    }
    panel.min_scale = _mm512_sub_ps(_mm512_setzero_ps(), dmin);
}

/// Two consecutive blocks of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk(blocks: &[[u8; 144]; 2]) -> Chunk<1> {
    // The high nibbles stay where they are, which makes them sixteen times as large; the scales of their groups make up for
    // that, exactly.
    const MASKS: [i32; 16] = alternating(0x0F0F_0F0F, 0xF0F0_F0F0_u32.cast_signed());
    const FACTORS: [i32; 16] = alternating(1f32.to_bits().cast_signed(), 0.0625f32.to_bits().cast_signed());
    let (scale, min) = scales_and_mins(each(blocks.each_ref(), |block| part(block, 0)));
    let scale = _mm512_mul_ps(scale, _mm512_castsi512_ps(load_lanes(&FACTORS)));
    let bytes = spread_runs(each(blocks.each_ref(), |block| part(block, 16)), &PAIRS);
    Chunk { quants: each(bytes, |bytes| _mm512_and_si512(bytes, load_lanes(&MASKS))), scales: [scale], min }
}

const fn alternating(even: i32, odd: i32) -> [i32; 16] {
    let mut lanes = [even; 16];
    let mut lane = 1;
    while lane < 16 {
        lanes[lane] = odd;
        lane += 2;
    }
    lanes
}

/// The quants of two blocks, from the 128 bytes that each has of them: 32 bytes hold a group of 32 in their low halves
/// and the next in their high.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn nibbles(blocks: [&[u8; 128]; 2]) -> [__m512i; 8] {
    const SHIFTS: [i32; 16] = alternating(0, 4);
    each(spread_runs(blocks, &PAIRS), |bytes| low(_mm512_srlv_epi32(bytes, load_lanes(&SHIFTS))))
}

/// Lanes of a run of 32 bytes and of the next, for the low and the high halves of each.
const PAIRS: [usize; 8] = [0, 0, 1, 1, 2, 2, 3, 3];

/// Spreads two blocks of four runs of 32 bytes each: lane `g` of vector `c` has bytes `4c..4c+4` of run `runs[g % 8]` of
/// block `g / 8`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn spread_runs(blocks: [&[u8; 128]; 2], runs: &[usize; 8]) -> [__m512i; 8] {
    let halves = each(blocks, |block| {
        let (first, last) = (load_64(part(block, 0)), load_64(part(block, 64)));
        // The first and the last sixteen bytes of each of the four runs.
        [_mm512_shuffle_i32x4::<0b10_00_10_00>(first, last), _mm512_shuffle_i32x4::<0b11_01_11_01>(first, last)]
    });
    let mut quants = [_mm512_setzero_si512(); 8];
    for (c, quants) in quants.iter_mut().enumerate() {
        let order: [i32; 16] = std::array::from_fn(|g| (g / 8 * 16 + 4 * runs[g % 8] + c % 4) as i32);
        *quants = _mm512_permutex2var_epi32(halves[0][c / 4], load_lanes(&order), halves[1][c / 4]);
    }
    quants
}

/// Scales and negated minima of the groups of two blocks, from the 16 bytes that open a Q4_K or Q5_K block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn scales_and_mins(blocks: [&[u8; 16]; 2]) -> (__m512, __m512) {
    let heads = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load_16(blocks[0])), load_16(blocks[1]));
    // Per block, eight scales and eight minima of which the last four lack their upper bits.
    let order = _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
    let main = _mm256_shuffle_epi8(heads, _mm256_broadcastsi128_si256(order));
    // The bytes that have those bits.
    let order = _mm_setr_epi8(ZERO, ZERO, ZERO, ZERO, 4, 5, 6, 7, ZERO, ZERO, ZERO, ZERO, 8, 9, 10, 11);
    let upper = _mm256_shuffle_epi8(heads, _mm256_broadcastsi128_si256(order));
    let keep = _mm256_broadcastsi128_si256(_mm_setr_epi32(0x3F3F_3F3F, 0x0F0F_0F0F, 0x3F3F_3F3F, 0));
    let keep_high = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0, 0, 0x0F0F_0F0F));
    let main = _mm256_or_si256(_mm256_and_si256(main, keep), _mm256_and_si256(_mm256_srli_epi16::<4>(main), keep_high));
    let upper = _mm256_and_si256(_mm256_srli_epi16::<2>(upper), _mm256_set1_epi8(0x30));
    // The scales of both blocks, then the minima of both.
    let all = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_or_si256(main, upper));
    let scales = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(all)));
    let mins = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(all)));
    let first_lanes = _mm256_permutevar8x32_epi32(heads, _mm256_setr_epi32(0, 4, 0, 0, 0, 0, 0, 0));
    let [d0, min0, d1, min1] = [0, 1, 2, 3];
    let halves = _mm512_castps128_ps512(_mm_cvtph_ps(_mm256_castsi256_si128(first_lanes)));
    let pick = |a: i32, b: i32| load_lanes(&[a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b]);
    let d = _mm512_permutexvar_ps(pick(d0, d1), halves);
    let dmin = _mm512_permutexvar_ps(pick(min0, min1), halves);
    (_mm512_mul_ps(d, scales), _mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(dmin, mins)))
}
