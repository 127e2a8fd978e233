//! x86-64 with AVX2, FMA and F16C: every mainstream x86 processor since 2013.

use crate::kernels::{Kernels, SCALAR};

/// The tier's table.
pub(super) static KERNELS: Kernels = Kernels { name: "avx2", ..SCALAR };

/// Whether this processor has the tier's instructions.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}
