//! The activation rows of this tier: chunks of sixteen groups of 32 columns, a group in each 32-bit lane.
//!
//! A chunk has 768 bytes, twelve cache lines: eight vectors of quants (vector `c` has quants `4c..4c+4` of group `g` in
//! lane `g`), the groups' scales and their scales times sums as `f32`, the sums of the first and the last sixteen quants
//! of a group as two 16-bit numbers a lane, and a vector for long prompts: in Q8_1 rows the sums of all 32 times
//! [`OFFSET`], as 32-bit numbers, in Q8_K rows the sums of groups `2p` and `2p + 1` as two 16-bit numbers in lane `p`. A
//! chunk that begins but does not end inside the row is filled up with zeros. The groups of a Q8_K block share its scale.
//! Quants, scales and sums are those of the scalar quantisers.

use std::arch::x86_64::*;

use super::lanes::{load_64, prefetch, store_64, transpose_32};
use crate::activation::{ActivationType, q8_1_scale, q8_k_scale, row_parts};
use crate::simd::avx2::quantise::{first_of_magnitude, largest_magnitude, quantise_32};

/// Groups in a chunk.
pub(super) const GROUPS: usize = 16;

/// Columns in a chunk.
pub(super) const COLUMNS: usize = 32 * GROUPS;

/// Bytes of a row of [`COLUMNS`] columns, in any order.
const ROW_BYTES: usize = 768 + 64;

/// What the sums in Q8_1 rows are multiplied with: minus the number that makes signed bytes unsigned.
const OFFSET: i32 = -128;

/// A chunk of an activation row: twelve cache lines.
#[repr(C)]
pub(super) struct Chunk {
    /// Vector `c` has quants `4c..4c+4` of group `g` in lane `g`.
    quants: [Lanes; 8],
    scales: Lanes,
    scaled_sums: Lanes,
    half_sums: Lanes,
    long: Lanes,
}

/// Four bytes of each group.
type Lanes = [[u8; 4]; GROUPS];

const _: () = assert!(size_of::<Chunk>() == 768 && align_of::<Chunk>() == 1);

/// The chunk that begins at byte `at`.
#[inline(always)]
pub(super) fn chunk_at(bytes: &[u8], at: usize) -> &Chunk {
    &chunks(&bytes[at..][..size_of::<Chunk>()])[0]
}

/// The chunks of a row.
#[inline(always)]
pub(super) fn chunks(row: &[u8]) -> &[Chunk] {
    let (chunks, _) = row.as_chunks::<{ size_of::<Chunk>() }>();
    // SAFETY: a chunk is as long as its bytes, needs no alignment and may have any value.
    unsafe { std::slice::from_raw_parts(chunks.as_ptr().cast(), chunks.len()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn all(lanes: &Lanes) -> __m512i {
    load_64(lanes.as_flattened().first_chunk().expect("sixteen times four bytes"))
}

/// One lane's bytes in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn one(lanes: &Lanes, group: usize) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes(lanes[group]))
}

impl Chunk {
    /// The first `cols` columns as the scalar tier arranges a row.
    pub(super) fn in_scalar_order(&self, activation: ActivationType, cols: usize) -> [u8; ROW_BYTES] {
        let mut row = [0; ROW_BYTES];
        let block = if activation == ActivationType::Q8_1 { 32 } else { 256 };
        let parts = row_parts(&mut row, cols, block);
        for (g, quants) in parts.quants.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (quants, lanes) in quants.as_chunks_mut().0.iter_mut().zip(&self.quants) {
                *quants = lanes[g];
            }
        }
        for (i, scale) in parts.scales.iter_mut().enumerate() {
            *scale = self.scales[i * block / 32];
        }
        let halves = |g: usize| self.half_sums[g].as_chunks().0;
        for (i, sum) in parts.sums.iter_mut().enumerate() {
            *sum = match activation {
                ActivationType::Q8_1 => {
                    (i16::from_le_bytes(halves(i)[0]) + i16::from_le_bytes(halves(i)[1])).to_le_bytes()
                }
                _ => halves(i / 2)[i % 2],
            };
        }
        row
    }

    /// Asks for line `line` of the chunk that lies `distance` bytes behind this one, into the first-level cache.
    #[inline(always)]
    pub(super) fn prefetch_line(&self, line: usize, distance: usize) {
        prefetch::<_MM_HINT_T0>(&self.quants.as_flattened().as_flattened()[..1], 64 * line + distance);
    }
}

/// Whole vectors, a group in each lane.
impl Chunk {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn quants(&self, c: usize) -> __m512i {
        all(&self.quants[c])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn scales(&self) -> __m512 {
        _mm512_castsi512_ps(all(&self.scales))
    }

    /// The groups' scales times the sums of their quants.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn scaled_sums(&self) -> __m512 {
        _mm512_castsi512_ps(all(&self.scaled_sums))
    }

    /// The sums of the first and the last sixteen quants, as pairs of 16-bit numbers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn half_sums(&self) -> __m512i {
        all(&self.half_sums)
    }
}

/// What belongs to one group, in all lanes.
impl Chunk {
    /// Quants `4c..4c+4`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn group_quants(&self, group: usize, c: usize) -> __m512i {
        one(&self.quants[c], group)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn group_scale(&self, group: usize) -> __m512 {
        _mm512_castsi512_ps(one(&self.scales, group))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn group_scaled_sum(&self, group: usize) -> __m512 {
        _mm512_castsi512_ps(one(&self.scaled_sums, group))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn group_half_sums(&self, group: usize) -> __m512i {
        one(&self.half_sums, group)
    }

    /// The sum of the group's quants times [`OFFSET`]; of Q8_1 rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn group_offset(&self, group: usize) -> __m512i {
        one(&self.long, group)
    }

    /// The sums of groups `2 * pair` and `2 * pair + 1`, as pairs of 16-bit numbers; of Q8_K rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn pair_sums(&self, pair: usize) -> __m512i {
        one(&self.long, pair)
    }
}

/// Quants, scales and sums of up to sixteen groups, before they are put in order.
struct Groups {
    quants: [[u8; 32]; GROUPS],
    scales: [f32; GROUPS],
    sums: [[i16; 2]; GROUPS],
}

/// Quantises a row to Q8_1.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn quantise_q8_1(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.chunks(COLUMNS).zip(out.as_chunks_mut::<{ size_of::<Chunk>() }>().0) {
        let mut groups = Groups::new();
        for (g, x) in x.as_chunks::<32>().0.iter().enumerate() {
            let (inverse, scale) = q8_1_scale(largest_magnitude(x.as_chunks().0));
            groups.scales[g] = scale;
            groups.sums[g] = quantise_32(x, inverse, &mut groups.quants[g]);
        }
        let offsets = groups.sums.map(|[first, last]| OFFSET * i32::from(first + last));
        groups.write(&offsets.map(i32::to_le_bytes), out);
    }
}

/// Quantises a row to Q8_K.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn quantise_q8_k(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.chunks(COLUMNS).zip(out.as_chunks_mut::<{ size_of::<Chunk>() }>().0) {
        let mut groups = Groups::new();
        for (block, x) in x.as_chunks::<256>().0.iter().enumerate() {
            let largest = largest_magnitude(x.as_chunks().0);
            let (inverse, scale) = q8_k_scale(first_of_magnitude(x, largest));
            for (g, x) in (8 * block..).zip(x.as_chunks::<32>().0) {
                groups.scales[g] = scale;
                groups.sums[g] = quantise_32(x, inverse, &mut groups.quants[g]);
            }
        }
        let mut pairs = [[0; 4]; GROUPS];
        for (pair, [even, odd]) in pairs.iter_mut().zip(groups.sums.as_chunks().0) {
            *pair = halves([even[0] + even[1], odd[0] + odd[1]]);
        }
        groups.write(&pairs, out);
    }
}

impl Groups {
    fn new() -> Groups {
        Groups { quants: [[0; 32]; GROUPS], scales: [0.0; GROUPS], sums: [[0; 2]; GROUPS] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn write(&self, long: &Lanes, out: &mut [u8; size_of::<Chunk>()]) {
        let (lines, _) = out.as_chunks_mut::<64>();
        let (quants, others) = lines.split_at_mut(8);
        for (line, quants) in quants.iter_mut().zip(transpose_32(self.quants.each_ref())) {
            store_64(quants, line);
        }
        for g in 0..GROUPS {
            let (scale, [first, last]) = (self.scales[g], self.sums[g]);
            let lanes =
                [scale.to_le_bytes(), (scale * f32::from(first + last)).to_le_bytes(), halves(self.sums[g]), long[g]];
            for (line, lane) in others.iter_mut().zip(lanes) {
                line[4 * g..][..4].copy_from_slice(&lane);
            }
        }
    }
}

/// Two 16-bit numbers in a lane.
fn halves(pair: [i16; 2]) -> [u8; 4] {
    let [first, second] = pair.map(i16::to_le_bytes);
    [first[0], first[1], second[0], second[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::{Q8_1Row, Q8KRow};
    use crate::simd::avx512::cpu::is_supported;

    /// Rough values with a broken one, groups of zeros and a tie of magnitudes.
    fn values(len: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) * if i / 32 % 5 == 3 { 0.0 } else { (i / 32 + 1) as f32 };
        let mut x: Vec<f32> = (0..len).map(value).collect();
        x[1] = -900.0;
        x[2] = 900.0;
        x[len - 1] = f32::NAN;
        x
    }

    fn check_group(row: &[u8], group: usize, scale: f32, halves: [i16; 2], quants: &[u8]) {
        let (chunk, lane) = (&chunks(row)[group / GROUPS], group % GROUPS);
        let got: Vec<[u8; 4]> = chunk.quants.iter().map(|lanes| lanes[lane]).collect();
        assert_eq!(got.as_flattened(), quants, "group {group}");
        let sum = halves[0] + halves[1];
        assert_eq!(chunk.scales[lane], scale.to_le_bytes());
        assert_eq!(chunk.scaled_sums[lane], (scale * f32::from(sum)).to_le_bytes());
        assert_eq!(chunk.half_sums[lane].as_chunks().0, halves.map(i16::to_le_bytes));
    }

    #[test]
    fn rows_hold_what_the_scalar_quantisers_write() {
        if !is_supported() {
            return;
        }
        for len in [32, 224, 512, 576, 1536] {
            let x = values(len);
            let mut scalar = vec![0; ActivationType::Q8_1.row_bytes(len)];
            crate::activation::quantise_q8_1(&x, &mut scalar);
            let mut row = vec![0x55; scalar.len()];
            // SAFETY: `is_supported` found the instructions.
            unsafe { quantise_q8_1(&x, &mut row) };
            let want = Q8_1Row::new(&scalar, len);
            for group in 0..len / 32 {
                let half = |at| want.quants(group)[at..at + 16].iter().map(|q| i16::from(q.cast_signed())).sum();
                check_group(&row, group, want.scale(group), [half(0), half(16)], want.quants(group));
                assert_eq!(half(0) + half(16), want.sum(group));
                let offset = chunks(&row)[group / GROUPS].long[group % GROUPS];
                assert_eq!(offset, (-128 * i32::from(want.sum(group))).to_le_bytes());
            }
            check_padding(&row, len);
        }
    }

    #[test]
    fn groups_of_a_large_block_share_its_scale() {
        if !is_supported() {
            return;
        }
        for len in [256, 512, 768] {
            let x = values(len);
            let mut scalar = vec![0; ActivationType::Q8_K.row_bytes(len)];
            crate::activation::quantise_q8_k(&x, &mut scalar);
            let mut row = vec![0x55; scalar.len()];
            // SAFETY: `is_supported` found the instructions.
            unsafe { quantise_q8_k(&x, &mut row) };
            let want = Q8KRow::new(&scalar, len);
            for group in 0..len / 32 {
                let (block, in_block) = (group / 8, group % 8);
                let sums = want.sums(block);
                let halves = [sums[2 * in_block], sums[2 * in_block + 1]];
                let quants = &want.quants(block)[32 * in_block..][..32];
                check_group(&row, group, want.scale(block), halves, quants);
                let pair = chunks(&row)[group / GROUPS].long[group % GROUPS / 2].as_chunks().0[group % 2];
                assert_eq!(pair, (halves[0] + halves[1]).to_le_bytes());
            }
            check_padding(&row, len);
        }
    }

    fn check_padding(row: &[u8], len: usize) {
        for group in len / 32..len.div_ceil(COLUMNS) * GROUPS {
            check_group(row, group, 0.0, [0; 2], &[0; 32]);
        }
    }
}
