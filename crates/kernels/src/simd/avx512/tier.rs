//! The table of the tier.

use super::{activation, attend, float, others, q4, q4_k, q5, q5_k, q6_k, q8_0};
use crate::formats::table::QuantType;
use crate::kernels::Kernels;
use crate::ops::attend::tiles;
use crate::products::Products;
use crate::simd::avx2;
use crate::simd::doors::door;

/// The tier's table. Its activation rows are its own, so the products of other tiers cannot read them.
pub(in crate::simd) static KERNELS: Kernels = Kernels {
    name: "avx512",
    products: Products::all(others::matmul).with(&[
        (QuantType::F32, door!(|args| float::matmul_f32)),
        (QuantType::F16, door!(|args| float::matmul_f16)),
        (QuantType::BF16, door!(|args| float::matmul_bf16)),
        (QuantType::Q4_0, door!(|args| q4::matmul_q4_0)),
        (QuantType::Q4_1, door!(|args| q4::matmul_q4_1)),
        (QuantType::Q5_0, door!(|args| q5::matmul_q5_0)),
        (QuantType::Q5_1, door!(|args| q5::matmul_q5_1)),
        (QuantType::Q8_0, door!(|args| q8_0::matmul)),
        (QuantType::Q4_K, door!(|args| q4_k::matmul)),
        (QuantType::Q5_K, door!(|args| q5_k::matmul)),
        (QuantType::Q6_K, door!(|args| q6_k::matmul)),
    ]),
    quantise_q8_1: door!(|x, out| activation::quantise_q8_1),
    quantise_q8_k: door!(|x, out| activation::quantise_q8_k),
    attend: |args| tiles::attend(args, &attend::STEPS),
    ..avx2::tier::KERNELS
};
