//! What the stories about logits share: a runner on a tiny model, and ways to feed it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use forward::{
    Batch, BatchSize, CpuBackend, CpuOptions, KvSpill, KvType, LanguageModel, LogitRows, Logits, PAGE_TOKENS, Runner,
    RunnerOptions, SeqId, Window,
};
use kernels::Kernels;
use model::ModelSpec;
use model::gguf::Gguf;
use store::{
    Budget, CachePolicy, IoMode, Ledger, PlanOptions, ResidencyPlan, SlabTable, StoreError, StoreOptions, WeightStore,
    plan,
};
use testkit::{TinyModel, temp_model};

/// A prompt longer than any batch whose bits are promised, with a token that comes three times in a row.
pub(crate) const PROMPT: [u32; 20] = [5, 17, 256, 80, 81, 82, 3, 294, 120, 44, 9, 200, 201, 7, 7, 7, 250, 33, 91, 64];

/// A budget for all but weights, whose plan has its own: more than a tiny model needs.
pub(crate) const LIMIT_BYTES: u64 = 1 << 32;

/// The sequence of the stories that need only one.
pub(crate) const SEQ: SeqId = SeqId(1);

/// How a model is run.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) kernels: &'static Kernels,
    pub(crate) threads: usize,
    /// Tokens in a sequence's context.
    pub(crate) ctx: usize,
    pub(crate) kv_type: KvType,
    /// Memory for weights, as a share of what all of them would need; 0 is the least that works.
    pub(crate) pinned_share: f64,
    pub(crate) io: IoMode,
    pub(crate) policy: CachePolicy,
    pub(crate) window: Window,
    /// Pages of the KV cache in memory, if the others spill to a file.
    pub(crate) pages_in_memory: Option<usize>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            kernels: Kernels::detect(),
            threads: 2,
            ctx: 128,
            kv_type: KvType::F32,
            pinned_share: 2.0,
            io: IoMode::Auto,
            policy: CachePolicy::Pin,
            window: Window::ALL,
            pages_in_memory: None,
        }
    }
}

/// Writes the model to a file and opens it as the program does.
pub(crate) fn open(model: &TinyModel, setup: Setup) -> Runner<CpuBackend> {
    try_open(model, setup).expect("the file is there, and can be read in this way")
}

/// The same, where the way of reading may be refused.
pub(crate) fn try_open(model: &TinyModel, setup: Setup) -> Result<Runner<CpuBackend>, StoreError> {
    let path = temp_model(&model.gguf_bytes());
    let header = Gguf::open(&path).expect("testkit writes GGUF");
    open_read(&header, setup, &Ledger::new(LIMIT_BYTES))
}

/// Opens a model of which the header has been read before.
pub(crate) fn open_read(header: &Gguf, setup: Setup, ledger: &Ledger) -> Result<Runner<CpuBackend>, StoreError> {
    open_with_stop(header, setup, ledger).map(|(runner, _)| runner)
}

/// The same, and what stops its passes.
pub(crate) fn open_with_stop(
    header: &Gguf,
    setup: Setup,
    ledger: &Ledger,
) -> Result<(Runner<CpuBackend>, Arc<AtomicBool>), StoreError> {
    // Three sequences.
    let n_pages = 3 * setup.ctx.div_ceil(PAGE_TOKENS);
    let ledger = ledger.clone();
    let spec = ModelSpec::from_gguf(header).expect("the model is complete");
    let Setup { kernels, threads, ctx, kv_type, pinned_share, io, policy, window, pages_in_memory } = setup;
    let plan = plan_for(&spec, pinned_share, policy);
    let options = StoreOptions { io, max_read_rate: None };
    let store = WeightStore::open(header.files(), &spec, &plan, options, &ledger)?;
    let spill = pages_in_memory.map(|pages_in_memory| KvSpill { folder: std::env::temp_dir(), pages_in_memory });
    let backend = CpuBackend::new(&spec, CpuOptions { kernels, threads, kv_type, ctx, n_pages, spill, ledger });
    let size = |rows| BatchSize { rows, logit_rows: rows };
    let limits = RunnerOptions { ctx, n_pages, window, largest: size(128), always: size(3) };
    let stop = store.stop();
    Ok((Runner::new(spec, store, backend?, limits).expect("the file can be read"), stop))
}

/// The plan that pins about this share of the weights.
pub(crate) fn plan_for(spec: &ModelSpec, pinned_share: f64, policy: CachePolicy) -> ResidencyPlan {
    let slabs = SlabTable::new(spec).expect("tiny");
    let budget = |limit_bytes| Budget { limit_bytes, kv_bytes: 0, fixed_bytes: 0, lent_bytes: 0 };
    let options = PlanOptions { policy, depth: None };
    let all = plan(&slabs, budget(1 << 40), options).expect("it fits");
    let limit = (all.weights_bytes as f64 * pinned_share) as u64;
    plan(&slabs, budget(limit.max(all.minimum_budget_bytes)), options).expect("the least that works")
}

/// Feeds `tokens` to [`SEQ`] in segments of these lengths; the logits after each token.
pub(crate) fn run(runner: &mut Runner<CpuBackend>, tokens: &[u32], lens: &[usize]) -> Vec<Vec<f32>> {
    assert_eq!(lens.iter().sum::<usize>(), tokens.len(), "the pieces make up the prompt");
    let mut start = 0;
    let mut all = Vec::new();
    for len in lens {
        // Longer batches are prompts, so that both ways of summing are seen.
        let prompt_len = if *len > 16 { *len } else { 0 };
        let batch = Batch::prompt(SEQ, start, tokens[start..start + len].to_vec(), LogitRows::All, prompt_len);
        all.extend(rows(&runner.forward(&batch).expect("the batch fits")));
        start += len;
    }
    all
}

/// The rows of a batch's logits.
pub(crate) fn rows(logits: &Logits) -> Vec<Vec<f32>> {
    (0..logits.n_rows()).map(|i| logits.row(i).to_vec()).collect()
}
