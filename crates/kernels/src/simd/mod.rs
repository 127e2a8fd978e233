//! The instruction-set tiers: tables of faster implementations, each handed out only where it can run.
//!
//! A tier is a folder with one `static` [`Kernels`] that overrides the scalar entries it speeds up, and one row in
//! [`TIERS`] with the test that the processor has the instructions. This folder holds all `unsafe` of the crate. The
//! functions in a table are safe to call only because the table leaves this module through [`supported`] alone;
//! `tests/twins.rs` compares every table with the scalar one.

use crate::kernels::Kernels;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;

/// A table and the question whether this processor can run it.
struct Tier {
    kernels: &'static Kernels,
    is_supported: fn() -> bool,
}

/// All tiers of this architecture, the fastest last.
static TIERS: &[Tier] = &[
    #[cfg(target_arch = "x86_64")]
    Tier { kernels: &avx2::KERNELS, is_supported: avx2::is_supported },
    #[cfg(target_arch = "x86_64")]
    Tier { kernels: &avx2::KERNELS_VNNI, is_supported: avx2::has_vnni },
    #[cfg(target_arch = "x86_64")]
    Tier { kernels: &avx2::KERNELS_VNNI_EVEX, is_supported: avx2::has_vnni_evex_alone },
    #[cfg(target_arch = "x86_64")]
    Tier { kernels: &avx512::KERNELS, is_supported: avx512::is_supported },
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Tier { kernels: &neon::KERNELS_WITHOUT_SDOT, is_supported: neon::lacks_sdot },
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Tier { kernels: &neon::KERNELS, is_supported: neon::has_sdot },
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Tier { kernels: &neon::KERNELS_I8MM, is_supported: neon::has_smmla },
];

/// The tables that this processor can run.
pub(crate) fn supported() -> impl Iterator<Item = &'static Kernels> {
    TIERS.iter().filter(|tier| (tier.is_supported)()).map(|tier| tier.kernels)
}
