//! All tiers of this architecture.

use crate::kernels::Kernels;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use crate::simd::neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2, avx512};

/// A table and the question whether this processor can run it.
struct Tier {
    kernels: &'static Kernels,
    is_supported: fn() -> bool,
}

/// The fastest comes last.
#[cfg(target_arch = "x86_64")]
static TIERS: &[Tier] = &[
    Tier { kernels: &avx2::tier::KERNELS, is_supported: avx2::cpu::is_supported },
    Tier { kernels: &avx2::tier::KERNELS_VNNI, is_supported: avx2::cpu::has_vnni },
    Tier { kernels: &avx2::tier::KERNELS_VNNI_EVEX, is_supported: avx2::cpu::has_vnni_evex_alone },
    Tier { kernels: &avx512::tier::KERNELS, is_supported: avx512::cpu::is_supported },
];

/// The fastest comes last.
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
static TIERS: &[Tier] = &[
    Tier { kernels: &neon::tier::KERNELS_WITHOUT_SDOT, is_supported: neon::cpu::lacks_sdot },
    Tier { kernels: &neon::tier::KERNELS, is_supported: neon::cpu::has_sdot },
    Tier { kernels: &neon::tier::KERNELS_I8MM, is_supported: neon::cpu::has_smmla },
];

/// None.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
static TIERS: &[Tier] = &[];

/// The tables that this processor can run.
pub(crate) fn supported() -> impl Iterator<Item = &'static Kernels> {
    TIERS.iter().filter(|tier| (tier.is_supported)()).map(|tier| tier.kernels)
}
