//! Q8_0: signed bytes as they are.

use std::arch::aarch64::*;

use super::block32::{self, Block, SYMMETRIC};
use super::dot::Dot;
use super::lanes::{each, gather_half, load_signed_32, part};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "neon")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 34, SYMMETRIC>(args, |rows| Block {
        quants: each(rows, |row| load_signed_32(part(row, 2))),
        scale: gather_half(each(rows, |row| part(row, 0))),
        min: vdupq_n_f32(0.0),
    });
}
