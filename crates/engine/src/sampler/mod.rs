//! Choosing the next token from a row of logits.
//!
//! [`SamplingOptions`] parametrize the [`Sampler`], a chain of small steps, one per file, in llama.cpp's order: penalties,
//! top-k, top-p, min-p, temperature, draw. `logprobs` reports the model's own distribution, before any of that.
//!
//! Everything after the logits is IEEE arithmetic in a fixed order with an `exp` and a generator of our own choice, so
//! the same logits, options and seed give the same token on every machine. (The logits themselves are equal bit for bit
//! only within one instruction set.)
//!
//! Deliberately absent: when generation ends (`stop`, `sequence`) and tokens' text.

mod candidates;
pub(crate) mod chain;
mod draw;
mod greedy;
pub(crate) mod logprobs;
mod min_p;
pub(crate) mod options;
mod penalties;
mod temperature;
#[cfg(test)]
mod tests;
mod top_k;
mod top_p;

pub use chain::Sampler;
pub use logprobs::TokenLogprob;
pub use options::{SamplingError, SamplingOptions};
