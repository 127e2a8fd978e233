//! `qwen2`: Qwen 1.5, 2 and 2.5, dense.
//!
//! Query, key and value have biases, and RoPE pairs the two halves of a head.

use super::decoder::{Arch, DECODER};
use super::tensors::Bias;

pub(super) const QWEN2: Arch = Arch { name: "qwen2", qkv_bias: Bias::Required, ..DECODER };
