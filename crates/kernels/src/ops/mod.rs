//! The scalar operations between the matrix products: one file each.
//!
//! They work on one row, one head or one group of heads; callers loop and split the work. Lengths were checked by
//! [`crate::Kernels`]. These functions are the oracle of the SIMD tiers, so they prefer accuracy to speed: sums of
//! squares in f64, the library's `exp`.

pub(crate) mod add;
pub(crate) mod attend;
pub(crate) mod gate;
pub(crate) mod kv;
pub(crate) mod matmul;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod scale;
pub(crate) mod soft_cap;
