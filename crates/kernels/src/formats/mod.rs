//! The quantised formats: a table with one row per type and, per family, a file of scalar arithmetic.
//!
//! [`table`] holds [`table::QuantType`] and [`table::Format`]. The families are [`float`] (F32, F16, BF16), [`q4`], [`q5`]
//! and [`q8_0`] (blocks of 32), [`q4_k`], [`q5_k`] and [`q6_k`] (super-blocks of 256); [`block32`] and [`super_block`] hold
//! the loops that they share. Every layout is ggml's. These functions are the oracle of the SIMD tiers: written for the
//! reader, exact in their integers, one rounding per multiplication. A row of weights comes in as bytes of any alignment;
//! its length was checked by [`crate::Kernels`].

mod block32;
mod blocks;
mod float;
mod iq4_nl;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
mod super_block;
pub(crate) mod table;
