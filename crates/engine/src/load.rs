//! From a path to a model that is ready to answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use forward::{CpuBackend, CpuOptions, KvSpill, LanguageModel, Runner, RunnerOptions, Window, weight_bytes_per_second};
use model::gguf::Gguf;
use model::{ChatTemplate, ModelError, ModelSpec, TokenId, Tokenizer};
use store::{CacheIdentity, IoMode, Ledger, Reservation, ResidencyPlan, StoreOptions, WeightStore};

use crate::error::EngineError;
use crate::fingerprint::fingerprint;
use crate::kv_share::KvShare;
use crate::options::EngineOptions;
use crate::sizing::{Sizing, size};

/// Context that is kept when none is asked for; a model made for less gets its own.
const DEFAULT_CONTEXT: usize = 4096;

/// Where a pass streams less, looking at the disk would take longer than the best depth could save.
const PROBED_BYTES: u64 = 1 << 30;

/// How fast a machine is with a model's weights.
#[derive(Clone, Copy, Debug)]
pub struct MachineSpeed {
    /// The disk, when nothing else is done.
    pub disk_bytes_per_second: f64,
    /// The processor, with weights in memory and one token.
    pub compute_bytes_per_second: f64,
}

impl MachineSpeed {
    /// Tokens a second that a plan promises: a pass streams its bytes at the rate of the disk and computes with all weights
    /// at that of the processor, whichever takes longer.
    pub fn tokens_per_second(&self, plan: &ResidencyPlan) -> f64 {
        let streaming = plan.streamed_bytes_per_pass as f64 / self.disk_bytes_per_second;
        1.0 / streaming.max(plan.weights_bytes as f64 / self.compute_bytes_per_second)
    }
}

/// A model's file, understood but not loaded: what `info` and `plan` show.
pub struct ModelFile {
    /// The header.
    pub gguf: Gguf,
    /// The network.
    pub spec: ModelSpec,
    path: PathBuf,
}

/// How fast the disk gives a model's weights when nothing else is done.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpeed {
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Bytes of the largest request.
    pub request_bytes: usize,
    /// Requests under way at once.
    pub depth: usize,
}

/// A model that is ready to answer.
pub struct LoadedModel {
    /// Computes the passes.
    pub model: Box<dyn LanguageModel>,
    /// Turns text into tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// What is in memory.
    pub plan: ResidencyPlan,
    /// The budget that the model and the prompt cache's buffers share.
    pub ledger: Ledger,
    /// Bytes of weights read so far, to be looked at from another thread while a pass runs.
    pub bytes_read: Arc<AtomicU64>,
    /// Ends a generation in the middle of a pass when it is set, as cancelled.
    pub stop: Arc<AtomicBool>,
    template: Option<String>,
    path: PathBuf,
    /// The program's own memory in the budget's ledger.
    _program: Reservation,
}

impl ModelFile {
    /// Reads a file's header and describes its network.
    ///
    /// Errors: the file cannot be read, is damaged, or is not a model that runs here.
    pub fn open(path: &Path) -> Result<ModelFile, EngineError> {
        let gguf = Gguf::open(path).map_err(in_file(path))?;
        let spec = ModelSpec::from_gguf(&gguf).map_err(in_file(path))?;
        Ok(ModelFile { gguf, spec, path: path.to_owned() })
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tokens of context that the options ask for.
    ///
    /// Errors: more than the model was made for.
    pub fn context(&self, options: &EngineOptions) -> Result<usize, EngineError> {
        let trained = self.spec.context_length;
        match options.ctx {
            Some(ctx) if ctx > trained => Err(EngineError::ContextTooLong { ctx, trained }),
            Some(ctx) => Ok(ctx),
            None => Ok(trained.min(DEFAULT_CONTEXT)),
        }
    }

    /// Decides what would be in memory, without reading a weight.
    ///
    /// Errors: the budget is too small, or the context too long for the model.
    pub fn plan(&self, options: &EngineOptions) -> Result<ResidencyPlan, EngineError> {
        Ok(self.size(options)?.plan)
    }

    /// Bytes of keys and values at full context that would not be in memory.
    ///
    /// Errors: as for [`ModelFile::plan`].
    pub fn spilled_kv_bytes(&self, options: &EngineOptions) -> Result<u64, EngineError> {
        Ok(self.size(options)?.kv.spilled_bytes)
    }

    /// Divides the budget. Where much will be streamed, a quick look at the disk tells how many requests are worth while.
    fn size(&self, options: &EngineOptions) -> Result<Sizing, EngineError> {
        // The header's metadata is in memory twice: as it was read, and as the tokenizer's tables.
        let size = |depth| size(&self.spec, 2 * self.gguf.data_offset(), self.context(options)?, options, depth);
        let guess = size(None)?;
        let is_direct = !matches!(options.io, IoMode::Buffered | IoMode::Mmap);
        if guess.plan.streamed_bytes_per_pass < PROBED_BYTES || options.max_read_rate.is_some() || !is_direct {
            return Ok(guess);
        }
        let ledger = Ledger::new(guess.plan.budget.limit_bytes);
        let store = WeightStore::open(self.gguf.files(), &self.spec, &guess.plan, options.store(), &ledger)?;
        size(Some(store.measure_depth()?))
    }

    /// Measures for a moment how fast the disk reads this file and how fast the processor multiplies its weights.
    ///
    /// Errors: as for [`ModelFile::plan`], or a read fails.
    pub fn measure(&self, options: &EngineOptions) -> Result<MachineSpeed, EngineError> {
        let plan = self.plan(options)?;
        let ledger = Ledger::new(plan.budget.limit_bytes);
        let store = WeightStore::open(self.gguf.files(), &self.spec, &plan, options.store(), &ledger)?;
        let disk_bytes_per_second = store.measure_disk()?;
        // A context of one token: the measurement attends to nothing.
        let alone = EngineOptions { max_sequences: 1, mmap_kv: None, ..options.clone() };
        let kv = KvShare::all(&self.spec, &alone, 1);
        let (mut backend, _) = CpuBackend::new(&self.spec, cpu(&alone, 1, kv, &ledger))?;
        let compute_bytes_per_second = weight_bytes_per_second(&mut backend, &store, &self.spec)?;
        Ok(MachineSpeed { disk_bytes_per_second, compute_bytes_per_second })
    }

    /// Reads the first weights past the page cache, in the requests that a pass would make, and however passes read.
    ///
    /// Errors: as for [`ModelFile::plan`], or a read fails.
    pub fn measure_disk(&self, options: &EngineOptions) -> Result<DiskSpeed, EngineError> {
        let plan = self.plan(options)?;
        let io = if options.io == IoMode::Buffered { IoMode::Auto } else { options.io };
        let ledger = Ledger::new(plan.budget.limit_bytes);
        let direct = StoreOptions { io, ..options.store() };
        let store = WeightStore::open(self.gguf.files(), &self.spec, &plan, direct, &ledger)?;
        let bytes_per_second = store.measure_disk()?;
        Ok(DiskSpeed { bytes_per_second, request_bytes: plan.slot_len, depth: plan.depth })
    }

    /// What must be the same for keys and values computed with this model to be used again.
    ///
    /// Errors: a read fails.
    pub fn cache_identity(&self, options: &EngineOptions) -> Result<CacheIdentity, EngineError> {
        let path = self.path.display().to_string();
        let model = fingerprint(&self.gguf).map_err(|source| EngineError::Fingerprint { path, source })?;
        // Keys and values depend on what the tokens before saw.
        let Window { len, n_sinks } = options.window_for(&self.spec);
        let window = (len as u128) << 64 | n_sinks as u128;
        Ok(CacheIdentity { model: model ^ window, kv_type: options.kv_type })
    }

    /// Makes the model ready to answer; its weights are read by the first pass.
    ///
    /// Errors: as for [`ModelFile::plan`], or the tokenizer is damaged or of an unknown kind, or a read fails.
    pub fn load(&self, options: &EngineOptions) -> Result<LoadedModel, EngineError> {
        let Sizing { plan, ctx, kv, always, largest, program_bytes } = self.size(options)?;
        let ledger = Ledger::new(plan.budget.limit_bytes);
        let program = ledger.reserve("program", program_bytes)?;
        let metadata = self.gguf.metadata();
        let tokenizer = Arc::new(Tokenizer::from_metadata(metadata).map_err(in_file(&self.path))?);
        let template = metadata.string("tokenizer.chat_template").map_err(in_file(&self.path))?.map(str::to_owned);
        let store = WeightStore::open(self.gguf.files(), &self.spec, &plan, options.store(), &ledger)?;
        let (bytes_read, stop) = (store.bytes_read(), store.stop());
        if let Some(folder) = &options.mmap_kv {
            store::warn_if_in_memory(folder);
        }
        let backend = CpuBackend::new(&self.spec, cpu(options, ctx, kv, &ledger))?;
        let window = options.window_for(&self.spec);
        let limits = RunnerOptions { ctx, n_pages: kv.n_pages, window, largest, always };
        let runner = Runner::new(self.spec.clone(), store, backend, limits)?;
        let model = Box::new(runner);
        Ok(LoadedModel {
            model,
            tokenizer,
            plan,
            ledger,
            bytes_read,
            stop,
            template,
            path: self.path.clone(),
            _program: program,
        })
    }
}

impl LoadedModel {
    /// The text of the model's chat template, if it has one.
    pub fn template_source(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// The model's chat template, if it has one.
    ///
    /// Errors: it does not compile.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, EngineError> {
        let Some(source) = &self.template else { return Ok(None) };
        let text = |id: Option<TokenId>| id.map_or_else(String::new, |id| self.tokenizer.token_text(id).into_owned());
        let template = ChatTemplate::new(source, &text(self.tokenizer.bos()), &text(self.tokenizer.eos()));
        template.map(Some).map_err(in_file(&self.path))
    }
}

/// Reads the tokenizer of a file alone, which need not hold a model.
///
/// Errors: the file cannot be read or is damaged, or its tokenizer is of an unknown kind.
pub fn load_tokenizer(path: &Path) -> Result<Tokenizer, EngineError> {
    let gguf = Gguf::open(path).map_err(in_file(path))?;
    Tokenizer::from_metadata(gguf.metadata()).map_err(in_file(path))
}

fn in_file(path: &Path) -> impl Fn(ModelError) -> EngineError + use<> {
    let path = path.display().to_string();
    move |source| EngineError::Model { path: path.clone(), source }
}

/// How the backend is set up.
fn cpu(options: &EngineOptions, ctx: usize, kv: KvShare, ledger: &Ledger) -> CpuOptions {
    let KvShare { n_pages, pages_in_memory, .. } = kv;
    let folder = options.mmap_kv.clone().filter(|_| pages_in_memory < n_pages);
    CpuOptions {
        kernels: options.kernels,
        threads: options.n_threads(),
        kv_type: options.kv_type,
        ctx,
        n_pages,
        spill: folder.map(|folder| KvSpill { folder, pages_in_memory }),
        ledger: ledger.clone(),
    }
}
