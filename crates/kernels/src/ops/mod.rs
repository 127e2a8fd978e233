//! The scalar operations between the matrix products: one file each.
//!
//! They work on one row, one head or one group of heads; callers loop and split the work. Lengths were checked by
//! [`crate::Kernels`]. These functions are the oracle of the SIMD tiers, so they prefer accuracy to speed: sums of
//! squares in f64, the library's `exp`.

mod add;
mod attend;
mod gate;
mod kv;
mod matmul;
mod rms_norm;
mod rope;
mod scale;
mod soft_cap;

pub use attend::{AttendArgs, PartLayout};
pub use gate::Activation;
pub use kv::KvType;
pub use rope::RopeLayout;

pub(crate) use add::add;
pub(crate) use attend::{attend, tiles};
pub(crate) use gate::{GELU_CUBE, GELU_SLOPE, gate};
pub(crate) use kv::{q8_0_block, store_kv, widen_q8_0};
pub(crate) use matmul::{MatmulArgs, matmul};
pub(crate) use rms_norm::{rms_norm_in_place, rms_scale};
pub(crate) use rope::rope;
pub(crate) use scale::scale;
pub(crate) use soft_cap::soft_cap;
