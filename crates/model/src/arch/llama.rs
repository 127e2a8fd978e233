//! `llama`: Llama 1 to 3.x, Mistral, SmolLM2 and the many models converted under that name.
//!
//! Its converter permutes the rows of query and key so that RoPE rotates neighbouring elements. Llama 3.1 and later
//! bring `rope_freqs.weight`; some derivatives bring biases.

use kernels::RopeLayout;

use super::decoder::{Arch, DECODER};

pub(super) const LLAMA: Arch = Arch { name: "llama", rope_layout: RopeLayout::Interleaved, ..DECODER };
