//! The instruction-set tiers: tables of faster implementations, each handed out only where it can run.
//!
//! A tier is a folder. Its `tier` file has a `static` [`Kernels`](crate::Kernels) that lists what the tier speeds up and
//! takes the rest from the tier below; its `cpu` file tells whether the processor has the instructions. [`tiers`] lists all
//! tables. [`attend`] is the attention of all tiers. This folder holds all `unsafe` of the crate: the functions in a table
//! are safe to call only because tables leave this module through [`tiers::supported`] alone. `tests/twins` compares every
//! table with the scalar one.

mod attend;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod doors;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
pub(crate) mod tiers;
