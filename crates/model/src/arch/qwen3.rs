//! `qwen3`: Qwen 3, dense.
//!
//! The heads of queries and keys are normalised, and RoPE pairs the two halves of a head.

use super::decoder::{Arch, DECODER};

pub(super) const QWEN3: Arch = Arch { name: "qwen3", has_qk_norms: true, ..DECODER };
