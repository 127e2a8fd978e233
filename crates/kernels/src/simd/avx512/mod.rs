//! x86-64 with AVX-512 and its dot-product instructions (VNNI): Intel's servers since 2019, AMD's processors since Zen 4.
//!
//! [`few`] multiplies up to sixteen tokens: a weight row after another, a group of 32 columns per 32-bit lane, for which
//! [`activation`] arranges the activations. [`block32`] and [`super_block`] multiply more, as those of [`super::avx2`] do: sixteen weight
//! rows at once, one per lane ([`lanes`]). `q*.rs` hold the unpacking for both, [`float`] and [`float_panels`] the unquantised formats, [`attend`]
//! the steps of attention. `vpdpbusd` multiplies unsigned weights with signed activations and adds four products exactly.
//! All other operations are those of AVX2.
//!
//! Functions here carry `#[target_feature]`, so only the doors below need `unsafe` to call them.

mod activation;
mod attend;
mod block32;
mod exp;
mod few;
mod float;
mod float_panels;
mod gather;
mod lanes;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
mod super_block;

use super::avx2;
use crate::kernels::{Kernels, MatmulFn};
use crate::ops::MatmulArgs;
use crate::ops::tiles::{self, AttendSteps, CachedRows, ScoreArgs, Softened, TILE, ValueArgs};

/// The tier's table.
pub(super) static KERNELS: Kernels = Kernels {
    name: "avx512",
    matmul: MATMUL,
    quantise_q8_1,
    quantise_q8_k,
    attend: |args| tiles::attend(args, &ATTEND),
    ..avx2::KERNELS
};

const ATTEND: AttendSteps = AttendSteps { widen, score, soften, add_values };

/// Whether this processor has the tier's instructions and those of AVX2's table.
pub(super) fn is_supported() -> bool {
    avx2::is_supported()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// By format, in the order of [`QuantType`](crate::format::QuantType).
const MATMUL: [MatmulFn; 11] = [
    matmul_f32,
    matmul_f16,
    matmul_bf16,
    matmul_q4_0,
    matmul_q4_1,
    matmul_q5_0,
    matmul_q5_1,
    matmul_q8_0,
    matmul_q4_k,
    matmul_q5_k,
    matmul_q6_k,
];

/// Makes table entries of functions that need the tier's instructions.
macro_rules! doors {
    ($($door:ident = $inner:path, ($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $door($($arg: $type),*) $(-> $result)? {
            // SAFETY: `super::supported` hands the table out only if `is_supported` found the instructions.
            unsafe { $inner($($arg),*) }
        })*
    };
}

doors! {
    quantise_q8_1 = activation::quantise_q8_1, (x: &[f32], out: &mut [u8]);
    quantise_q8_k = activation::quantise_q8_k, (x: &[f32], out: &mut [u8]);
    matmul_f32 = float::matmul_f32, (args: &mut MatmulArgs<'_>);
    matmul_f16 = float::matmul_f16, (args: &mut MatmulArgs<'_>);
    matmul_bf16 = float::matmul_bf16, (args: &mut MatmulArgs<'_>);
    matmul_q4_0 = q4::matmul_q4_0, (args: &mut MatmulArgs<'_>);
    matmul_q4_1 = q4::matmul_q4_1, (args: &mut MatmulArgs<'_>);
    matmul_q5_0 = q5::matmul_q5_0, (args: &mut MatmulArgs<'_>);
    matmul_q5_1 = q5::matmul_q5_1, (args: &mut MatmulArgs<'_>);
    matmul_q8_0 = q8_0::matmul, (args: &mut MatmulArgs<'_>);
    matmul_q4_k = q4_k::matmul, (args: &mut MatmulArgs<'_>);
    matmul_q5_k = q5_k::matmul, (args: &mut MatmulArgs<'_>);
    matmul_q6_k = q6_k::matmul, (args: &mut MatmulArgs<'_>);
    widen = attend::widen, (rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]);
    score = attend::score, (args: &mut ScoreArgs<'_>);
    soften = attend::soften, (scores: &mut [f32; TILE], before: f32) -> Softened;
    add_values = attend::add_values, (args: &mut ValueArgs<'_>);
}
