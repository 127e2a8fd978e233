//! x86-64 with AVX2, FMA and F16C: every mainstream x86 processor since 2013; and those that have AVX-VNNI as well.
//!
//! All quantised products work on eight weight rows at once, one row per 32-bit lane ([`lanes`]), so that no block needs
//! a horizontal sum: [`block32`] and [`super_block`] hold the loops, `q*.rs` the unpacking. [`float`] multiplies the
//! unquantised formats; the other files are the operations between the products.
//!
//! The integer products are made by AVX2's multiplications or by the dot-product instructions on the same registers
//! ([`dot`]): the tables of two tiers, with the same bits in all results.
//!
//! Functions here carry `#[target_feature]`, so only the doors in [`tier`] need `unsafe` to call them.

mod attend;
mod block32;
pub(super) mod cpu;
mod dot;
mod elementwise;
mod exp;
mod float;
mod lanes;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
pub(super) mod quantise;
mod rms_norm;
mod super_block;
pub(super) mod tier;
