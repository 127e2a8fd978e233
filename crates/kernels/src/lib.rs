//! Quantised formats and the arithmetic on them: slices in, slices out.
//!
//! [`QuantType`] names a tensor type of a GGUF file and [`Format`] is its row in the one table of formats. [`Kernels`]
//! is a set of implementations of every operation for one instruction-set tier; [`Kernels::scalar`] is the oracle,
//! [`Kernels::detect`] the fastest set that this processor can run. Every operation is a method of [`Kernels`] that
//! checks its lengths, so the SIMD code behind it stays private.
//!
//! Deliberately absent: files, threads and allocation. Callers bring the buffers and split the work.

mod activation;
mod available;
mod formats;
mod kernels;
mod ops;
mod products;
mod simd;

pub use activation::ActivationType;
pub use formats::table::{Format, QuantType};
pub use kernels::{FEW_TOKENS, Kernels};
pub use ops::attend::args::AttendArgs;
pub use ops::attend::part::PartLayout;
pub use ops::gate::Activation;
pub use ops::kv::KvType;
pub use ops::rope::RopeLayout;
