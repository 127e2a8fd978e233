//! Tells which code ran, through the counters that `-C instrument-coverage` compiles in.
//!
//! The compiler's profiling runtime keeps one counter for each region of code, all in one array. [`reset`] clears it
//! before a target runs; [`reached`] turns it into features: a region with the order of magnitude of its count, so that
//! a loop that runs a hundred times differs from one that runs twice. Without the flag there are no counters, and the
//! target's outcome alone guides.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Features per region: one for each bit length of a count.
const MAGNITUDES: u64 = 65;

/// Whether the program was compiled with counters.
pub(crate) const AVAILABLE: bool = cfg!(coverage_counters);

/// Clears all counters.
pub(crate) fn reset() {
    counters().iter().for_each(|counter| counter.store(0, Relaxed));
}

/// The features reached since [`reset`].
pub(crate) fn reached() -> Vec<u64> {
    // Copied first: this code is counted too, and the copy's own counts do not depend on what the target did.
    let counts: Vec<u64> = counters().iter().map(|counter| counter.load(Relaxed)).collect();
    let reached = counts.iter().zip(0u64..).filter(|(count, _)| **count > 0);
    reached.map(|(count, region)| region * MAGNITUDES + u64::from(u64::BITS - count.leading_zeros())).collect()
}

#[cfg(coverage_counters)]
fn counters() -> &'static [AtomicU64] {
    unsafe extern "C" {
        safe fn __llvm_profile_begin_counters() -> *const AtomicU64;
        safe fn __llvm_profile_end_counters() -> *const AtomicU64;
    }
    let (begin, end) = (__llvm_profile_begin_counters(), __llvm_profile_end_counters());
    let n_counters = (end.addr() - begin.addr()) / size_of::<AtomicU64>();
    // SAFETY: LLVM's profiling runtime lays the program's 64-bit counters out between these two addresses, aligned, for
    // as long as the program runs; instrumented code is the only other that writes them, and the fuzzer has one thread.
    unsafe { std::slice::from_raw_parts(begin, n_counters) }
}

#[cfg(not(coverage_counters))]
fn counters() -> &'static [AtomicU64] {
    &[]
}
