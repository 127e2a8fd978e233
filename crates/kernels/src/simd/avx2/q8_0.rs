//! Q8_0: signed bytes of eight rows.

use std::arch::x86_64::*;

use super::block32::{self, Block};
use super::dot::{Dot, SIGNED_8};
use super::lanes::{each, gather_half, part, transpose_32};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 34, SIGNED_8>(args, |rows| Block {
        quants: transpose_32(each(rows, |row| part(row, 2))),
        scale: gather_half(each(rows, |row| part(row, 0))),
        min: _mm256_setzero_ps(),
    });
}
