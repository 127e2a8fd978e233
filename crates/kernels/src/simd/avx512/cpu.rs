//! What the processor can run.

use crate::simd::avx2;

/// Whether this processor has the tier's instructions and those of AVX2's table.
pub(in crate::simd) fn is_supported() -> bool {
    avx2::cpu::is_supported()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}
