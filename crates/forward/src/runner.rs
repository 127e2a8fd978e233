//! A model that is ready to run: its weights' store, a backend, and the sequences in its KV cache.
//!
//! [`Runner`] makes room for a batch, gives its rows their places, and keeps or discards what the pass computed. The pass
//! itself is in `pass.rs`.

use model::{ModelSpec, When};
use store::{ReadStats, WeightStore};

use crate::batch::Batch;
use crate::error::ForwardError;
use crate::kv::ops::KvOps;
use crate::kv::page::PageId;
use crate::kv::pages::KvPages;
use crate::kv::sequences::Sequences;
use crate::kv::window::Window;
use crate::language_model::LanguageModel;
use crate::logits::Logits;
use crate::ops::Backend;
use crate::pass::Pass;
use crate::rotations::Rotations;
use crate::scratch::{BatchSize, Scratch, activation_bytes};
use crate::seq_id::SeqId;
use crate::vectors::Vectors;

/// Runs the passes of one model.
pub struct Runner<B: Backend> {
    spec: ModelSpec,
    store: WeightStore,
    ops: B,
    kv: B::Kv,
    vectors: Vectors<B::Tensor>,
    rotations: Rotations,
    scratch: Scratch<B::Tensor>,
    /// What the scratch and the backend's buffers have room for.
    size: BatchSize,
    /// Slabs that the device keeps and the store no longer reads ahead.
    n_kept: usize,
    sequences: Sequences,
    options: RunnerOptions,
}

/// The limits that a runner is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerOptions {
    /// Tokens in a sequence's context.
    pub ctx: usize,
    /// Pages in the KV cache.
    pub n_pages: usize,
    /// What a token sees of those before it.
    pub window: Window,
    /// The largest batch.
    pub largest: BatchSize,
    /// The largest batch whose buffers are always there. Weights make room for those of a larger one and come back when
    /// there is a smaller one again.
    pub always: BatchSize,
}

impl<B: Backend> LanguageModel for Runner<B> {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, ForwardError> {
        batch.check(self.spec.n_vocab, self.options.largest.rows)?;
        let wanted = batch.logit_plan();
        self.make_room(BatchSize { rows: batch.n_rows(), logit_rows: wanted.len() })?;
        let placement = self.sequences.admit(batch)?;
        if let Err(error) = self.kv.begin(&placement, &self.sequences) {
            self.sequences.refuse(batch, &placement);
            return Err(error.into());
        }
        let pass = Pass {
            spec: &self.spec,
            store: &self.store,
            ops: &mut self.ops,
            kv: &mut self.kv,
            vectors: &self.vectors,
            rotations: &mut self.rotations,
            s: &mut self.scratch,
            placement: &placement,
            window: self.options.window,
        };
        let logits = pass.run(&wanted, &batch.pooled_rows());
        match logits {
            Ok(_) => self.sequences.commit(batch),
            Err(_) => self.sequences.abandon(batch),
        }
        self.leave_out_kept();
        logits
    }

    fn accept(&mut self, seq: SeqId, rows: &[usize]) -> Result<(), ForwardError> {
        let pairs = self.sequences.accept(seq, rows)?;
        self.kv.copy_rows(&pairs);
        Ok(())
    }

    fn kv(&mut self) -> &mut dyn KvOps {
        &mut self.sequences
    }

    fn page_bytes(&self) -> usize {
        self.kv.page_bytes()
    }

    fn page(&mut self, seq: SeqId, index: usize) -> Option<&[u8]> {
        let page = self.sequences.pages_of(seq).get(index).copied().filter(|page| *page != PageId::GONE)?;
        self.kv.page(page).ok()
    }

    fn insert(&mut self, seq: SeqId, len: usize) -> Result<(), ForwardError> {
        self.sequences.insert(seq, len)
    }

    fn page_mut(&mut self, seq: SeqId, index: usize) -> Option<&mut [u8]> {
        let page = self.sequences.pages_of(seq).get(index).copied().filter(|page| *page != PageId::GONE)?;
        self.kv.page_mut(page, &self.sequences).ok()
    }

    fn max_rows(&self) -> usize {
        self.options.largest.rows
    }

    fn read_stats(&self) -> ReadStats {
        self.store.stats().with_kv(&self.kv.stats())
    }
}

impl<B: Backend> Runner<B> {
    /// Prepares a model to run; reads its small vectors and nothing else.
    ///
    /// Errors: a read failed.
    pub fn new(
        spec: ModelSpec,
        store: WeightStore,
        (mut ops, kv): (B, B::Kv),
        options: RunnerOptions,
    ) -> Result<Runner<B>, ForwardError> {
        let vectors = Vectors::read(&spec, &store, &ops)?;
        let rotations = Rotations::new(&spec, &store)?;
        ops.prepare(&spec, options.always.rows)?;
        Ok(Runner {
            vectors,
            rotations,
            scratch: Scratch::new(&ops, &spec, options.always)?,
            size: options.always,
            n_kept: 0,
            sequences: Sequences::with_window(options.ctx, options.n_pages, options.window, options.largest.rows),
            options,
            spec,
            store,
            ops,
            kv,
        })
    }

    /// The model's description.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Sizes the buffers for a batch: the small ones that are always there, or as large as this one needs.
    fn make_room(&mut self, wanted: BatchSize) -> Result<(), ForwardError> {
        // Few sizes, so that batches of about one size do not move weights.
        let up = |n: usize, most: usize| n.next_power_of_two().min(most).max(n);
        let BatchSize { rows, logit_rows } = self.options.largest;
        let rounded = BatchSize { rows: up(wanted.rows, rows), logit_rows: up(wanted.logit_rows, logit_rows) };
        let size = if wanted.fits(self.options.always) { self.options.always } else { rounded };
        if size == self.size {
            return Ok(());
        }
        // Small buffers first, so that what was lent is back before it is lent again.
        self.resize(self.options.always, 0)?;
        if size != self.options.always {
            let bytes =
                |size: BatchSize| activation_bytes(&self.spec, size) + self.ops.buffer_bytes(&self.spec, size.rows);
            self.resize(size, bytes(size).saturating_sub(bytes(self.options.always)))?;
        }
        Ok(())
    }

    /// Leaves the slabs that the device keeps to it.
    fn leave_out_kept(&mut self) {
        if self.n_kept != self.ops.n_kept() {
            self.n_kept = self.ops.n_kept();
            let cycle = self.spec.walk().filter(|used| used.when == When::Always);
            let slabs = cycle.flat_map(|used| self.store.slabs_of(&used.matrix));
            self.store.set_cycle(slabs.filter(|slab| self.ops.kept(*slab).is_none()).collect());
        }
    }

    fn resize(&mut self, size: BatchSize, lent_bytes: u64) -> Result<(), ForwardError> {
        // What they are until all has gone well.
        self.size = BatchSize { rows: 0, logit_rows: 0 };
        self.scratch = Scratch::new(&self.ops, &self.spec, self.size)?;
        self.ops.prepare(&self.spec, 0)?;
        self.store.lend(lent_bytes)?;
        self.ops.prepare(&self.spec, size.rows)?;
        self.scratch = Scratch::new(&self.ops, &self.spec, size)?;
        self.size = size;
        Ok(())
    }
}
