//! The sets of kernels that this processor can run.

use std::sync::LazyLock;

use crate::kernels::{Kernels, SCALAR};
use crate::simd::tiers::supported;

static SCALAR_TIER: Kernels = SCALAR;

static AVAILABLE: LazyLock<Vec<&'static Kernels>> =
    LazyLock::new(|| std::iter::once(&SCALAR_TIER).chain(supported()).collect());

impl Kernels {
    /// The portable implementations: the oracle of all others.
    pub fn scalar() -> &'static Kernels {
        &SCALAR_TIER
    }

    /// The sets that this processor can run, the scalar one first and the fastest last.
    pub fn available() -> &'static [&'static Kernels] {
        &AVAILABLE
    }

    /// The fastest set that this processor can run.
    pub fn detect() -> &'static Kernels {
        AVAILABLE.last().expect("the scalar set is always available")
    }

    /// The set of this name, if this processor can run it.
    pub fn by_name(name: &str) -> Option<&'static Kernels> {
        AVAILABLE.iter().find(|k| k.name == name).copied()
    }

    /// The names of all sets of all processors, for help texts.
    pub fn all_names() -> &'static [&'static str] {
        &["scalar", "avx2", "avxvnni", "avx512", "neon", "neon-i8mm"]
    }
}
