//! x86-64 with AVX2, FMA and F16C: every mainstream x86 processor since 2013.
//!
//! All quantised products work on eight weight rows at once, one row per 32-bit lane ([`lanes`]), so that no block needs
//! a horizontal sum: [`block32`] and [`super_block`] hold the loops, `q*.rs` the unpacking. [`float`] multiplies the
//! unquantised formats; the other files are the operations between the products.
//!
//! Functions here carry `#[target_feature]`, so only the doors below need `unsafe` to call them.

mod attend;
mod block32;
mod elementwise;
mod exp;
mod float;
mod lanes;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
pub(super) mod quantise;
mod rms_norm;
mod softmax;
mod super_block;

use crate::format::QuantType;
use crate::kernels::{Kernels, MatmulFn, SCALAR};
use crate::ops::tiles::{self, AttendSteps, CachedRows, ScoreArgs, Softened, TILE, ValueArgs};
use crate::ops::{KvType, MatmulArgs};

/// The tier's table.
pub(super) static KERNELS: Kernels = Kernels {
    name: "avx2",
    matmul: matmul_table(),
    quantise_q8_1,
    quantise_q8_k,
    rms_norm,
    softmax,
    swiglu,
    add,
    store_kv,
    attend: |args| tiles::attend(args, &ATTEND),
    ..SCALAR
};

const ATTEND: AttendSteps = AttendSteps { widen, score, soften, add_values };

/// Whether this processor has the tier's instructions.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

const fn matmul_table() -> [MatmulFn; 11] {
    let mut table = SCALAR.matmul;
    table[QuantType::F32 as usize] = matmul_f32;
    table[QuantType::F16 as usize] = matmul_f16;
    table[QuantType::BF16 as usize] = matmul_bf16;
    table[QuantType::Q4_0 as usize] = matmul_q4_0;
    table[QuantType::Q4_1 as usize] = matmul_q4_1;
    table[QuantType::Q5_0 as usize] = matmul_q5_0;
    table[QuantType::Q5_1 as usize] = matmul_q5_1;
    table[QuantType::Q8_0 as usize] = matmul_q8_0;
    table[QuantType::Q4_K as usize] = matmul_q4_k;
    table[QuantType::Q5_K as usize] = matmul_q5_k;
    table[QuantType::Q6_K as usize] = matmul_q6_k;
    table
}

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
    quantise_q8_1 = quantise::quantise_q8_1, (x: &[f32], out: &mut [u8]);
    quantise_q8_k = quantise::quantise_q8_k, (x: &[f32], out: &mut [u8]);
    rms_norm = rms_norm::rms_norm, (x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    softmax = softmax::softmax, (x: &mut [f32]);
    swiglu = elementwise::swiglu, (gate: &mut [f32], up: &[f32]);
    add = elementwise::add, (x: &mut [f32], y: &[f32]);
    store_kv = elementwise::store_kv, (kv_type: KvType, x: &[f32], out: &mut [u8]);
    widen = attend::widen, (rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]);
    score = attend::score, (args: &mut ScoreArgs<'_>);
    soften = attend::soften, (scores: &mut [f32; TILE], before: f32) -> Softened;
    add_values = attend::add_values, (args: &mut ValueArgs<'_>);
}
