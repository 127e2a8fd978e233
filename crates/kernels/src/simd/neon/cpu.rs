//! What the processor can run.

use std::arch::is_aarch64_feature_detected;

/// Whether this processor can run [`super::tier::KERNELS_I8MM`].
pub(in crate::simd) fn has_smmla() -> bool {
    has_sdot() && is_aarch64_feature_detected!("i8mm")
}

/// Whether this processor can run [`super::tier::KERNELS`].
pub(in crate::simd) fn has_sdot() -> bool {
    is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")
}

/// Whether [`super::tier::KERNELS_WITHOUT_SDOT`] is the table of this processor.
pub(in crate::simd) fn lacks_sdot() -> bool {
    is_aarch64_feature_detected!("neon") && !is_aarch64_feature_detected!("dotprod")
}
