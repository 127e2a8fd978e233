//! The CPU backend: kernels over rows, spread over threads.
//!
//! Every operation splits its rows or heads into tasks for the pool. A task's result does not depend on who runs it or
//! on how the work was cut, so logits are the same bits for any number of threads.

mod attend;
pub(crate) mod backend;
pub(crate) mod cores;
pub(crate) mod footprint;
pub(crate) mod kv;
mod matmul;
mod pool;
mod shared;
mod split;
mod tensor;
