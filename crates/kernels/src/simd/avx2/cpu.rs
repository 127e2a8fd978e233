//! What the processor can run.

/// Whether this processor can run [`super::tier::KERNELS`].
pub(in crate::simd) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Whether this processor can run [`super::tier::KERNELS_VNNI`].
pub(in crate::simd) fn has_vnni() -> bool {
    is_supported() && is_x86_feature_detected!("avxvnni")
}

/// Whether [`super::tier::KERNELS_VNNI_EVEX`] is the table of this processor.
pub(in crate::simd) fn has_vnni_evex_alone() -> bool {
    is_supported()
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && !is_x86_feature_detected!("avxvnni")
}
