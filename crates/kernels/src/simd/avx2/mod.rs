//! x86-64 with AVX2, FMA and F16C: every mainstream x86 processor since 2013; and those that have AVX-VNNI as well.
//!
//! All quantised products work on eight weight rows at once, one row per 32-bit lane ([`lanes`]), so that no block needs
//! a horizontal sum: [`block32`] and [`super_block`] hold the loops, `q*.rs` the unpacking. [`float`] multiplies the
//! unquantised formats; the other files are the operations between the products.
//!
//! The integer products are made by AVX2's multiplications or by the dot-product instructions on the same registers
//! ([`dot`]): the tables of two tiers, with the same bits in all results.
//!
//! Functions here carry `#[target_feature]`, so only the doors below need `unsafe` to call them.

mod attend;
mod block32;
mod dot;
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
mod super_block;

use crate::kernels::{Kernels, MatmulFn, SCALAR};
use crate::ops::tiles::{self, AttendSteps, CachedRows, ScoreArgs, Softened, TILE, ValueArgs};
use crate::ops::{Activation, KvType, MatmulArgs};
use dot::{Dot, Evex, Pairs, Vex};

/// The table of processors with AVX2 alone.
pub(super) static KERNELS: Kernels = table::<Pairs>("avx2");

/// The table of processors with dot-product instructions in AVX2's encoding: Intel's since Alder Lake, AMD's since Zen 5.
pub(super) static KERNELS_VNNI: Kernels = table::<Vex>("avxvnni");

/// The same for processors that have these instructions only in AVX-512's encoding.
pub(super) static KERNELS_VNNI_EVEX: Kernels = table::<Evex>("avxvnni");

const ATTEND: AttendSteps = AttendSteps { widen, score, soften, add_values };

/// Whether this processor can run [`KERNELS`].
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Whether this processor can run [`KERNELS_VNNI`].
pub(super) fn has_vnni() -> bool {
    is_supported() && is_x86_feature_detected!("avxvnni")
}

/// Whether [`KERNELS_VNNI_EVEX`] is the table of this processor.
pub(super) fn has_vnni_evex_alone() -> bool {
    is_supported()
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && !is_x86_feature_detected!("avxvnni")
}

const fn table<D: Dot>(name: &'static str) -> Kernels {
    Kernels {
        name,
        matmul: matmul_table::<D>(),
        quantise_q8_1,
        quantise_q8_k,
        rms_norm_in_place,
        gate,
        add,
        store_kv,
        attend: |args| tiles::attend(args, &ATTEND),
        ..SCALAR
    }
}

/// By format, in the order of [`QuantType`](crate::format::QuantType).
const fn matmul_table<D: Dot>() -> [MatmulFn; 11] {
    [
        matmul_f32,
        matmul_f16,
        matmul_bf16,
        matmul_q4_0::<D>,
        matmul_q4_1::<D>,
        matmul_q5_0::<D>,
        matmul_q5_1::<D>,
        matmul_q8_0::<D>,
        matmul_q4_k::<D>,
        matmul_q5_k::<D>,
        matmul_q6_k::<D>,
    ]
}

/// Makes table entries of functions that need the tier's instructions.
macro_rules! doors {
    ($($door:ident $(<$dot:ident>)? = $inner:path, ($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $door $(<$dot: Dot>)? ($($arg: $type),*) $(-> $result)? {
            // SAFETY: `super::supported` hands a table out only if `is_supported`, `has_vnni` or `has_vnni_evex_alone` found
            // its instructions.
            unsafe { $inner($($arg),*) }
        })*
    };
}

doors! {
    matmul_f32 = float::matmul_f32, (args: &mut MatmulArgs<'_>);
    matmul_f16 = float::matmul_f16, (args: &mut MatmulArgs<'_>);
    matmul_bf16 = float::matmul_bf16, (args: &mut MatmulArgs<'_>);
    matmul_q4_0<D> = q4::matmul_q4_0::<D>, (args: &mut MatmulArgs<'_>);
    matmul_q4_1<D> = q4::matmul_q4_1::<D>, (args: &mut MatmulArgs<'_>);
    matmul_q5_0<D> = q5::matmul_q5_0::<D>, (args: &mut MatmulArgs<'_>);
    matmul_q5_1<D> = q5::matmul_q5_1::<D>, (args: &mut MatmulArgs<'_>);
    matmul_q8_0<D> = q8_0::matmul::<D>, (args: &mut MatmulArgs<'_>);
    matmul_q4_k<D> = q4_k::matmul::<D>, (args: &mut MatmulArgs<'_>);
    matmul_q5_k<D> = q5_k::matmul::<D>, (args: &mut MatmulArgs<'_>);
    matmul_q6_k<D> = q6_k::matmul::<D>, (args: &mut MatmulArgs<'_>);
    quantise_q8_1 = quantise::quantise_q8_1, (x: &[f32], out: &mut [u8]);
    quantise_q8_k = quantise::quantise_q8_k, (x: &[f32], out: &mut [u8]);
    rms_norm_in_place = rms_norm::rms_norm_in_place, (x: &mut [f32], weight: &[f32], eps: f32);
    gate = elementwise::gate, (activation: Activation, gate: &mut [f32], up: &[f32]);
    add = elementwise::add, (x: &mut [f32], y: &[f32]);
    store_kv = elementwise::store_kv, (kv_type: KvType, x: &[f32], out: &mut [u8]);
    widen = attend::widen, (rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]);
    score = attend::score, (args: &mut ScoreArgs<'_>);
    soften = attend::soften, (scores: &mut [f32; TILE], before: f32) -> Softened;
    add_values = attend::add_values, (args: &mut ValueArgs<'_>);
}
