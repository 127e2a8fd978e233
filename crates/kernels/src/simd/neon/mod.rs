//! aarch64 with NEON, which every 64-bit Arm processor has.
//!
//! Products with few tokens work on four weight rows at once and leave one row per lane ([`tiles`]); quantised ones with many
//! unpack sixteen rows to a panel first ([`panels`], [`layout`]). [`block32`] and [`super_block`] hold the arithmetic of
//! blocks, `q*.rs` the unpacking, [`float`] the unquantised formats. Integer products take the matrix instruction `smmla` or
//! the dot product `sdot` where the processor has them and widening multiplications elsewhere ([`dot`]); all are exact, so
//! all tables give the same bits. Addition, rotation and dequantisation stay scalar: NEON belongs to the architecture's
//! base, and the compiler vectorises those loops by itself.
//!
//! Functions here carry `#[target_feature]`, so only loads, stores, `sdot`, `smmla` and the doors below need `unsafe`.

mod attend;
mod block32;
mod dot;
mod elementwise;
mod exp;
mod float;
mod lanes;
mod layout;
mod panels;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
mod quantise;
mod rms_norm;
mod super_block;
mod tiles;

use std::arch::is_aarch64_feature_detected;

use crate::kernels::{Kernels, MatmulFn, SCALAR};
use crate::ops::tiles::{self as attend_tiles, AttendSteps, CachedRows, ScoreArgs, Softened, TILE, ValueArgs};
use crate::ops::{Activation, KvType, MatmulArgs};
use dot::{Dot, Sdot, Smmla, Widening};

/// The table of processors with dot-product instructions: all of Apple's, Arm's since the Cortex-A76.
pub(super) static KERNELS: Kernels = table::<Sdot>("neon");

/// The table of the others.
pub(super) static KERNELS_WITHOUT_SDOT: Kernels = table::<Widening>("neon");

/// The table of processors with matrix instructions as well: Arm's Neoverse V1 and N2, Apple's M2 and what came after.
pub(super) static KERNELS_I8MM: Kernels = table::<Smmla>("neon-i8mm");

/// Whether this processor can run [`KERNELS_I8MM`].
pub(super) fn has_smmla() -> bool {
    has_sdot() && is_aarch64_feature_detected!("i8mm")
}

/// Whether this processor can run [`KERNELS`].
pub(super) fn has_sdot() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")
}

/// Whether [`KERNELS_WITHOUT_SDOT`] is the table of this processor.
pub(super) fn lacks_sdot() -> bool {
    is_aarch64_feature_detected!("neon") && !is_aarch64_feature_detected!("dotprod")
}

const ATTEND: AttendSteps = AttendSteps { widen, score, soften, add_values };

const fn table<D: Dot>(name: &'static str) -> Kernels {
    Kernels {
        name,
        matmul: matmul_table::<D>(),
        quantise_q8_1,
        quantise_q8_k,
        rms_norm_in_place,
        gate,
        store_kv,
        attend: |args| attend_tiles::attend(args, &ATTEND),
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
            // SAFETY: `super::supported` hands the tables out only if `has_sdot`, `lacks_sdot` or `has_smmla` found NEON.
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
    store_kv = elementwise::store_kv, (kv_type: KvType, x: &[f32], out: &mut [u8]);
    widen = attend::widen, (rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]);
    score = attend::score, (args: &mut ScoreArgs<'_>);
    soften = attend::soften, (scores: &mut [f32; TILE], before: f32) -> Softened;
    add_values = attend::add_values, (args: &mut ValueArgs<'_>);
}
