//! `gemma3`: Gemma 3, text only.
//!
//! Each step is normalised before and after, gates are GELU, and embeddings are scaled. Most layers have a window and a
//! rotation for it; every sixth sees the whole context.

use kernels::Activation;

use super::decoder::{Arch, DECODER, LocalLayers};

pub(super) const GEMMA3: Arch = Arch {
    name: "gemma3",
    has_qk_norms: true,
    has_post_norms: true,
    activation: Activation::Gelu,
    scales_embeddings: true,
    // Of the 27B.
    n_layers_scaled_by_dim: 62,
    local_layers: Some(LocalLayers { period: 6, rope_base: 10_000.0 }),
    ..DECODER
};
