//! How a model is loaded.

use std::path::PathBuf;

use forward::{CpuFootprint, Footprint, KvType, Window, auto_threads};
use kernels::Kernels;
use model::ModelSpec;
use store::{CachePolicy, IoMode, StoreOptions};

/// Tokens of a prompt that a pass computes at once. Past a few hundred, more rows no longer speed up a pass, while
/// activations grow with every row.
pub(crate) const MAX_ROWS: usize = 512;

/// How a model is loaded.
#[derive(Clone)]
pub struct EngineOptions {
    /// All memory that the program may use, in bytes; `None` takes what is available now, less a margin.
    pub memory_budget: Option<u64>,
    /// Tokens of context; `None` is the model's, but at most 4096.
    pub ctx: Option<usize>,
    /// Threads; 0 takes one for each fast core.
    pub threads: usize,
    /// How weights are read.
    pub io: IoMode,
    /// Reads no faster than so many bytes a second.
    pub max_read_rate: Option<u64>,
    /// Which weights are kept between passes.
    pub cache_policy: CachePolicy,
    /// Rows of logits that one pass may be asked for.
    pub max_logit_rows: usize,
    /// Sequences in the KV cache at once, at least 1; a pass can always take in a token of each.
    pub max_sequences: usize,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// What a token sees of those before it; the model's own window may be narrower.
    pub window: Window,
    /// Whether memory is set aside for following grammars.
    pub grammars: bool,
    /// Whether memory is reserved for reading and writing prompt-cache files.
    pub prompt_files: bool,
    /// Folder for a file with the keys and values that memory does not hold; `None` keeps all in memory.
    pub mmap_kv: Option<PathBuf>,
    /// Where they may spill, memory for keys and values, in bytes; `None` is a share of the budget.
    pub kv_budget: Option<u64>,
    /// The arithmetic to use.
    pub kernels: &'static Kernels,
}

impl Default for EngineOptions {
    /// One sequence, everything else chosen by the program.
    fn default() -> EngineOptions {
        EngineOptions {
            memory_budget: None,
            ctx: None,
            threads: 0,
            io: IoMode::Auto,
            max_read_rate: None,
            cache_policy: CachePolicy::Pin,
            max_logit_rows: 1,
            max_sequences: 1,
            kv_type: KvType::F16,
            window: Window::ALL,
            grammars: false,
            prompt_files: false,
            mmap_kv: None,
            kv_budget: None,
            kernels: Kernels::detect(),
        }
    }
}

impl EngineOptions {
    /// Threads that the passes run on.
    pub(crate) fn n_threads(&self) -> usize {
        if self.threads == 0 { auto_threads() } else { self.threads }
    }

    /// Pages of the KV cache: its sequences may all be as long as the context.
    pub(crate) fn n_pages(&self, spec: &ModelSpec, ctx: usize) -> usize {
        self.max_sequences * self.window_for(spec).n_pages(ctx, MAX_ROWS)
    }

    /// What a token of this model sees.
    pub(crate) fn window_for(&self, spec: &ModelSpec) -> Window {
        Window { len: self.window.len.min(spec.widest_window().unwrap_or(usize::MAX)), ..self.window }
    }

    /// What the backend will take of the budget.
    pub(crate) fn footprint(&self) -> impl Footprint {
        CpuFootprint { threads: self.n_threads(), kv_type: self.kv_type }
    }

    pub(crate) fn store(&self) -> StoreOptions {
        StoreOptions { io: self.io, max_read_rate: self.max_read_rate }
    }
}
