//! How a budget is divided: what the program needs whatever the model's weights, how many tokens a pass may take in, and
//! the plan for what is left.

use forward::{BatchSize, Footprint, activation_bytes};
use model::ModelSpec;
use store::{Budget, PlanOptions, PromptFiles, ResidencyPlan, SlabTable, available_memory, peak_memory, plan};

use crate::error::EngineError;
use crate::kv_share::KvShare;
use crate::options::{EngineOptions, MAX_ROWS};

/// Tokens of the batches whose activations are always there: decoding, and drafts to be verified.
const FEW_ROWS: usize = 16;

/// The program itself, its threads' stacks and small buffers; measured at 11 MiB on x86-64, and up to 18 where most of it is
/// not optimised and so larger.
const PROGRAM_BYTES: u64 = if cfg!(debug_assertions) { 20 << 20 } else { 14 << 20 };

/// A sampler's candidates: an id, a logit and a probability for each token of the vocabulary.
const SAMPLER_BYTES_PER_TOKEN: u64 = 16;

/// What following grammars takes for each token of the vocabulary; measured at 400 to 600 bytes.
const GRAMMAR_BYTES_PER_TOKEN: u64 = 640;

/// Where keys and values may spill, they get this share of what is left to them and weights: a byte of either saves reading
/// one in every pass, but those of a context that is not full save nothing.
const KV_SHARE: u64 = 4;

/// What a slot takes at most besides its slab.
const SLOT_OVERHEAD: u64 = 8192;

/// Of the memory that is available now, this share is left to others when nobody says how much to use.
const DEFAULT_MARGIN: u64 = 8;

/// Of the memory that is available now, this share is left even when a budget asks for more.
const LEAST_MARGIN: u64 = 32;

/// A budget, divided.
pub(crate) struct Sizing {
    pub(crate) plan: ResidencyPlan,
    /// Tokens of context.
    pub(crate) ctx: usize,
    pub(crate) kv: KvShare,
    /// Batches whose buffers are always there, and the largest that there can be.
    pub(crate) always: BatchSize,
    pub(crate) largest: BatchSize,
    /// Of the fixed part, what is not activations.
    pub(crate) program_bytes: u64,
}

/// Divides the budget that `options` ask for. `header_bytes` are what the file's metadata takes in memory, `depth` how
/// many requests are worth while if that has been measured.
///
/// A pass takes in as many tokens as leave half of the memory to weights. Errors: the budget is too small.
pub(crate) fn size(
    spec: &ModelSpec,
    header_bytes: u64,
    ctx: usize,
    options: &EngineOptions,
    depth: Option<usize>,
) -> Result<Sizing, EngineError> {
    let heads = spec.attentions().flat_map(|attention| [attention.head_dim, attention.value_dim]);
    if let Some(dim) = heads.into_iter().find(|dim| !options.kv_type.holds(*dim)) {
        return Err(EngineError::KvType { kv_type: options.kv_type.name(), dim });
    }
    let slabs = SlabTable::new(spec)?;
    let plan_options = PlanOptions { policy: options.cache_policy, depth };
    let backend = options.footprint();
    let sequences = options.max_sequences;
    let batch = |rows: usize| {
        let rows = rows.min(ctx * sequences);
        BatchSize { rows, logit_rows: options.max_logit_rows.max(sequences).min(rows) }
    };
    let buffers = |size: BatchSize| activation_bytes(spec, size) + backend.buffer_bytes(spec, ctx, size.rows);
    let few = FEW_ROWS.max(sequences);
    let always = batch(few);
    let vectors: u64 = spec.vectors().map(|vector| 4 * vector.len as u64).sum();
    let bytes_per_token = SAMPLER_BYTES_PER_TOKEN + if options.grammars { GRAMMAR_BYTES_PER_TOKEN } else { 0 };
    let program_bytes = PROGRAM_BYTES + header_bytes + vectors + bytes_per_token * spec.n_vocab as u64;
    let page_bytes = usize::try_from(backend.page_bytes(spec)).unwrap_or(usize::MAX);
    let file_bytes = if options.prompt_files { PromptFiles::buffer_bytes(page_bytes) } else { 0 };
    let budget = |size: BatchSize, kv: KvShare| Budget {
        limit_bytes: limit_bytes(options.memory_budget),
        kv_bytes: kv.bytes,
        fixed_bytes: program_bytes + file_bytes + buffers(always),
        lent_bytes: buffers(size) - buffers(always),
    };
    let least_kv = least_kv(spec, options, ctx)?;
    let least = plan(&slabs, budget(always, least_kv), plan_options)?;
    let minimum_budget_bytes = least.minimum_budget_bytes;
    let kv = match (&options.mmap_kv, options.kv_budget) {
        (Some(_), None) => {
            let most_lent = buffers(batch(MAX_ROWS.max(few))) - buffers(always);
            KvShare::within(spec, options, ctx, kv_bytes(&least, most_lent))
        }
        _ => least_kv,
    };
    let budget = |size: BatchSize| budget(size, kv);
    let least = plan(&slabs, budget(always), plan_options)?;
    let left = least.budget.limit_bytes - least.budget.kv_bytes - least.budget.fixed_bytes;
    let sizes = std::iter::successors(Some(MAX_ROWS.max(few)), |rows| (rows / 2 > few).then_some(rows / 2)).map(batch);
    let largest = sizes.into_iter().find(|size| budget(*size).lent_bytes <= left / 2).unwrap_or(always);
    let (mut plan, largest) = match plan(&slabs, budget(largest), plan_options) {
        Ok(plan) => (plan, largest),
        // What it leaves to weights is too little for two slots: short passes it is.
        Err(_) => (least, always),
    };
    plan.minimum_budget_bytes = minimum_budget_bytes;
    Ok(Sizing { plan, ctx, kv, always, largest, program_bytes })
}

/// The smallest share of keys and values that the options allow.
///
/// Errors: they ask for less than a pass needs.
fn least_kv(spec: &ModelSpec, options: &EngineOptions, ctx: usize) -> Result<KvShare, EngineError> {
    if options.mmap_kv.is_none() {
        return Ok(KvShare::all(spec, options, ctx));
    }
    let bytes = options.kv_budget.unwrap_or(0);
    let share = KvShare::within(spec, options, ctx, bytes);
    match options.kv_budget {
        Some(bytes) if bytes < share.bytes => Err(EngineError::KvBudget { least: share.bytes }),
        _ => Ok(share),
    }
}

/// What keys and values get where nobody says it: a share, and all that weights leave which are kept whole, but not what
/// weights need to be streamed. `least` is the plan with the smallest share.
fn kv_bytes(least: &ResidencyPlan, most_lent: u64) -> u64 {
    let Budget { limit_bytes, kv_bytes, fixed_bytes, .. } = least.budget;
    let left = limit_bytes - fixed_bytes;
    let all_weights = least.weights_bytes + SLOT_OVERHEAD * least.residency.len() as u64 + most_lent;
    let least_weights = least.minimum_budget_bytes - fixed_bytes - kv_bytes;
    (left / KV_SHARE).max(left.saturating_sub(all_weights)).min(left - least_weights)
}

/// The budget: what was asked for, or what is available less a margin; never more than the system has to give.
fn limit_bytes(asked: Option<u64>) -> u64 {
    // What this process holds already is part of the budget.
    let available = available_memory() + peak_memory();
    match asked {
        None => available - available / DEFAULT_MARGIN,
        Some(bytes) => bytes.min(available - available / LEAST_MARGIN),
    }
}
