//! What a backend takes of a budget, known before it is built.

use model::ModelSpec;

/// Sizes of a backend's memory for a model, in bytes.
pub trait Footprint {
    /// A page of the KV cache.
    fn page_bytes(&self, spec: &ModelSpec) -> u64;

    /// A KV cache of `n_pages`, of which `pages_in_memory` are in memory at once.
    fn kv_bytes(&self, spec: &ModelSpec, n_pages: usize, pages_in_memory: usize) -> u64;

    /// The backend's own buffers for contexts of `ctx` tokens and batches of up to `rows` tokens.
    fn buffer_bytes(&self, spec: &ModelSpec, ctx: usize, rows: usize) -> u64;
}
