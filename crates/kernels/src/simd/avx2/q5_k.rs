//! Q5_K: as Q4_K, with the fifth bits of all groups in 32 bytes.

use std::arch::x86_64::*;

use super::dot::{Dot, UNSIGNED_5};
use super::lanes::{EIGHT, each, part, transpose_32};
use super::q4_k::unpack_scales;
use super::super_block::{self, Run, Unpack};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    let unpack = Unpack {
        nibbles: 48,
        scales: |rows: [&[u8; 176]; 8]| unpack_scales(each(rows, |row| part(row, 0))),
        // Bit `g` of a byte belongs to run `g` of the block: shifted by 4 for the second half, to run `g` of the half.
        upper: |rows: [&[u8; 176]; 8], half| {
            let shift = _mm_cvtsi32_si128(4 * half as i32);
            each(transpose_32(each(rows, |row| part(row, 16))), |bits| _mm256_srl_epi16(bits, shift))
        },
        merge: |nibbles: &Run, bits: &Run, run| {
            let shift = _mm_cvtsi32_si128(4 - run as i32);
            let fifth = each(*bits, |bits| _mm256_and_si256(_mm256_sll_epi16(bits, shift), _mm256_set1_epi8(16)));
            each(EIGHT, |c| _mm256_or_si256(nibbles[c], fifth[c]))
        },
    };
    super_block::matmul::<D, 176, UNSIGNED_5>(args, &unpack);
}
