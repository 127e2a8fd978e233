//! aarch64 with NEON, which every 64-bit Arm processor has.
//!
//! Products with few tokens work on four weight rows at once and leave one row per lane ([`tiles`]); quantised ones with many
//! unpack sixteen rows to a panel first ([`panels`], [`layout`]). [`block32`] and [`super_block`] hold the arithmetic of
//! blocks, `q*.rs` the unpacking, [`float`] the unquantised formats. Integer products take the matrix instruction `smmla` or
//! the dot product `sdot` where the processor has them and widening multiplications elsewhere ([`dot`]); all are exact, so
//! all tables give the same bits. Addition, rotation and dequantisation stay scalar: NEON belongs to the architecture's
//! base, and the compiler vectorises those loops by itself.
//!
//! Functions here carry `#[target_feature]`, so only loads, stores, `sdot`, `smmla` and the doors in [`tier`] need
//! `unsafe`.

mod attend;
mod block32;
pub(super) mod cpu;
mod dot;
mod elementwise;
mod exp;
mod float;
mod lanes;
mod layout;
mod panels;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
mod quantise;
mod rms_norm;
mod super_block;
pub(super) mod tier;
mod tiles;
