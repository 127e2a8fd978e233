//! x86-64 with AVX-512 and its dot-product instructions (VNNI): Intel's servers since 2019, AMD's processors since Zen 4.
//!
//! [`few`] multiplies up to sixteen tokens: one weight row after another, a group of 32 columns per 32-bit lane, for which
//! [`activation`] arranges the activations. [`block32`] and [`super_block`] multiply more, as those of [`super::avx2`] do:
//! sixteen weight rows at once, one per lane ([`lanes`]). `q*.rs` hold the unpacking for both, [`float`] and
//! [`float_panels`] the unquantised formats, [`others`] what has no file here. `vpdpbusd` multiplies unsigned weights with
//! signed activations and adds four products exactly. All other operations are those of AVX2.
//!
//! Functions here carry `#[target_feature]`, so only the doors in [`tier`] need `unsafe` to call them.

mod activation;
mod attend;
mod block32;
pub(super) mod cpu;
mod exp;
mod few;
mod float;
mod float_panels;
mod gather;
mod lanes;
mod others;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
mod super_block;
pub(super) mod tier;
