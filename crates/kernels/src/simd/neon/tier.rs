//! The tables of the tier.

use super::dot::{Dot, Sdot, Smmla, Widening};
use super::{attend, elementwise, float, q4, q4_k, q5, q5_k, q6_k, q8_0, quantise, rms_norm};
use crate::formats::table::QuantType;
use crate::kernels::{Kernels, SCALAR};
use crate::ops::attend::tiles;
use crate::simd::doors::door;

/// The table of processors with dot-product instructions: all of Apple's, Arm's since the Cortex-A76.
pub(in crate::simd) static KERNELS: Kernels = table::<Sdot>("neon");

/// The table of the others.
pub(in crate::simd) static KERNELS_WITHOUT_SDOT: Kernels = table::<Widening>("neon");

/// The table of processors with matrix instructions as well: Arm's since the Neoverse V1 and N2, Apple's since the M2.
pub(in crate::simd) static KERNELS_I8MM: Kernels = table::<Smmla>("neon-i8mm");

const fn table<D: Dot>(name: &'static str) -> Kernels {
    Kernels {
        name,
        products: SCALAR.products.with(&[
            (QuantType::F32, door!(|args| float::matmul_f32)),
            (QuantType::F16, door!(|args| float::matmul_f16)),
            (QuantType::BF16, door!(|args| float::matmul_bf16)),
            (QuantType::Q4_0, door!(|args| q4::matmul_q4_0::<D>)),
            (QuantType::Q4_1, door!(|args| q4::matmul_q4_1::<D>)),
            (QuantType::Q5_0, door!(|args| q5::matmul_q5_0::<D>)),
            (QuantType::Q5_1, door!(|args| q5::matmul_q5_1::<D>)),
            (QuantType::Q8_0, door!(|args| q8_0::matmul::<D>)),
            (QuantType::Q4_K, door!(|args| q4_k::matmul::<D>)),
            (QuantType::Q5_K, door!(|args| q5_k::matmul::<D>)),
            (QuantType::Q6_K, door!(|args| q6_k::matmul::<D>)),
        ]),
        quantise_q8_1: door!(|x, out| quantise::quantise_q8_1),
        quantise_q8_k: door!(|x, out| quantise::quantise_q8_k),
        rms_norm_in_place: door!(|x, weight, eps| rms_norm::rms_norm_in_place),
        gate: door!(|activation, gate, up| elementwise::gate),
        store_kv: door!(|kv_type, x, out| elementwise::store_kv),
        attend: |args| tiles::attend(args, &attend::STEPS),
        ..SCALAR
    }
}
