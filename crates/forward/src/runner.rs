//! THE forward pass. Newcomers start here.
//!
//! [`Runner::pass`] is the whole of it: look up the tokens' embeddings, let every layer add its attention and its
//! feed-forward step to them, and turn the rows that want logits into logits. All tensors are `[rows, width]`, one row
//! for each token of the batch; they live in [`Scratch`] and are reused from pass to pass.

use model::{ModelSpec, Vector};
use store::{ReadStats, StoreError, WeightStore};

use crate::backend::Projection;
use crate::batch::LogitPlan;
use crate::kv::Sequences;
use crate::rope::Frequencies;
use crate::scratch::{BatchSize, Scratch, activation_bytes};
use crate::{Backend, Batch, ForwardError, KvOps, LanguageModel, Logits, PageId, Placement, SeqId, Window};

/// A model that is ready to run: its description, its weights' store, a backend and the sequences in its KV cache.
pub struct Runner<B: Backend> {
    pub(crate) spec: ModelSpec,
    pub(crate) store: WeightStore,
    pub(crate) backend: B,
    pub(crate) vectors: Vectors<B::Tensor>,
    pub(crate) scratch: Scratch<B::Tensor>,
    /// What the scratch and the backend's buffers have room for.
    size: BatchSize,
    frequencies: Frequencies,
    sequences: Sequences,
    pub(crate) options: RunnerOptions,
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

/// The small vectors of a model, resident: norms and biases.
pub(crate) struct Vectors<T> {
    pub(crate) layers: Vec<LayerVectors<T>>,
    output_norm: T,
}

/// The small vectors of a layer; a bias is there where the layer's description has one.
pub(crate) struct LayerVectors<T> {
    pub(crate) attention_norm: T,
    pub(crate) query_bias: Option<T>,
    pub(crate) key_bias: Option<T>,
    pub(crate) value_bias: Option<T>,
    pub(crate) output_bias: Option<T>,
    pub(crate) feed_forward_norm: T,
    pub(crate) gate_bias: Option<T>,
    pub(crate) up_bias: Option<T>,
    pub(crate) down_bias: Option<T>,
}

impl<B: Backend> LanguageModel for Runner<B> {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, ForwardError> {
        batch.check(self.spec.n_vocab, self.options.largest.rows)?;
        let logit_rows = batch.logit_rows();
        self.make_room(BatchSize { rows: batch.n_rows(), logit_rows: logit_rows.rows.len() })?;
        let placement = self.sequences.admit(batch)?;
        if let Err(error) = self.backend.begin(&placement, &self.sequences) {
            self.sequences.refuse(batch, &placement);
            return Err(error.into());
        }
        let logits = self.pass(&placement, &logit_rows, &batch.pooled_rows());
        match logits {
            Ok(_) => self.sequences.commit(batch),
            Err(_) => self.sequences.abandon(batch),
        }
        logits
    }

    fn kv(&mut self) -> &mut dyn KvOps {
        &mut self.sequences
    }

    fn page_bytes(&self) -> usize {
        self.backend.page_bytes()
    }

    fn page(&mut self, seq: SeqId, index: usize) -> Option<&[u8]> {
        let page = self.sequences.pages_of(seq).get(index).copied().filter(|page| *page != PageId::GONE)?;
        self.backend.page(page).ok()
    }

    fn insert(
        &mut self,
        seq: SeqId,
        len: usize,
        fill: &mut dyn FnMut(usize, &mut [u8]) -> bool,
    ) -> Result<bool, ForwardError> {
        self.sequences.insert(seq, len)?;
        let (backend, sequences) = (&mut self.backend, &self.sequences);
        let mut pages = sequences.pages_of(seq).iter().enumerate();
        let filled =
            pages.try_fold(true, |is_whole, (i, &page)| Ok(is_whole && fill(i, backend.page_mut(page, sequences)?)));
        if !matches!(filled, Ok(true)) {
            self.sequences.remove(seq);
        }
        filled
    }

    fn max_rows(&self) -> usize {
        self.options.largest.rows
    }

    fn read_stats(&self) -> ReadStats {
        self.store.stats().with_kv(&self.backend.kv_stats())
    }
}

impl<B: Backend> Runner<B> {
    /// Prepares a model to run; reads its small vectors and nothing else.
    ///
    /// Errors: a read failed.
    pub fn new(
        spec: ModelSpec,
        store: WeightStore,
        mut backend: B,
        options: RunnerOptions,
    ) -> Result<Runner<B>, ForwardError> {
        let vectors = Vectors::read(&spec, &store, &backend)?;
        let factors = spec.rope.factors.map(|v| store.read_vector(&spec, v)).transpose()?;
        backend.prepare(&spec, options.always.rows)?;
        Ok(Runner {
            vectors,
            scratch: Scratch::new(&backend, &spec, options.always)?,
            size: options.always,
            frequencies: Frequencies::new(&spec.rope, factors.as_deref()),
            sequences: Sequences::with_window(options.ctx, options.n_pages, options.window, options.largest.rows),
            options,
            spec,
            store,
            backend,
        })
    }

    /// The model's description.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// One pass: the logits `[logit_rows, n_vocab]` of a batch whose tokens have their places in the KV cache, and the hidden
    /// states `[pooled_rows, dim]`.
    fn pass(
        &mut self,
        placement: &Placement,
        logit_rows: &LogitPlan,
        pooled_rows: &[Vec<usize>],
    ) -> Result<Logits, ForwardError> {
        self.frequencies.angles(&placement.rows, &mut self.scratch.angles);

        // x [rows, dim], the residual stream, begins as the tokens' embeddings.
        self.backend.embed(&self.store, &self.spec, &placement.rows, &mut self.scratch.x)?;
        for layer in 0..self.spec.layers.len() {
            self.attention(layer, placement)?; // x += attention(norm(x))
            self.feed_forward(layer, placement)?; // x += feed_forward(norm(x))
        }
        let pooled = pooled_rows.iter().map(|rows| self.hidden(rows)).collect::<Result<_, _>>()?;
        let logits = self.logits(logit_rows)?.with_pooled(pooled);

        self.store.verify()?;
        Ok(logits)
    }

    /// Makes the buffers right for a batch: the small ones that are always there, or as large as this one wants them.
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
                |size: BatchSize| activation_bytes(&self.spec, size) + self.backend.buffer_bytes(&self.spec, size.rows);
            self.resize(size, bytes(size).saturating_sub(bytes(self.options.always)))?;
        }
        Ok(())
    }

    fn resize(&mut self, size: BatchSize, lent_bytes: u64) -> Result<(), ForwardError> {
        // What they are until all has gone well.
        self.size = BatchSize { rows: 0, logit_rows: 0 };
        self.scratch = Scratch::new(&self.backend, &self.spec, self.size)?;
        self.backend.prepare(&self.spec, 0)?;
        self.store.lend(lent_bytes)?;
        self.backend.prepare(&self.spec, size.rows)?;
        self.scratch = Scratch::new(&self.backend, &self.spec, size)?;
        self.size = size;
        Ok(())
    }

    /// The sum `[dim]` of the rows' hidden states behind the last norm.
    fn hidden(&mut self, rows: &[usize]) -> Result<Vec<f32>, ForwardError> {
        let mut sum = vec![0.0; self.spec.dim];
        let s = &mut self.scratch;
        // A few at a time, so that the copies stay small.
        for rows in rows.chunks(kernels::FEW_TOKENS) {
            self.backend.select(&s.x, rows, &mut s.delta);
            self.backend.rms_norm(&s.delta, &self.vectors.output_norm, self.spec.norm_eps, &mut s.normed);
            for states in self.backend.read(&s.normed)?.values().chunks_exact(sum.len()) {
                sum.iter_mut().zip(states).for_each(|(sum, state)| *sum += state);
            }
        }
        Ok(sum)
    }

    /// Logits `[wanted, n_vocab]` of the rows that want them: the other rows never meet the output head.
    fn logits(&mut self, wanted: &LogitPlan) -> Result<Logits, ForwardError> {
        let n_vocab = self.spec.n_vocab;
        if wanted.rows.is_empty() {
            return Ok(Logits::default());
        }
        let s = &mut self.scratch;
        self.backend.select(&s.x, &wanted.rows, &mut s.delta);
        self.backend.rms_norm(&s.delta, &self.vectors.output_norm, self.spec.norm_eps, &mut s.normed);
        let head = Projection { weight: self.spec.output, bias: None, out: &mut s.logits };
        self.backend.project(&self.store, &s.normed, wanted.n_few, &mut [head])?;
        Ok(wanted.logits(self.backend.read(&s.logits)?, n_vocab))
    }
}

impl<T> Vectors<T> {
    fn read<B: Backend<Tensor = T>>(spec: &ModelSpec, store: &WeightStore, backend: &B) -> Result<Self, StoreError> {
        let read = |v: Vector| store.read_vector(spec, v).map(|values| backend.vector(values));
        let bias = |v: Option<Vector>| v.map(read).transpose();
        let layer = |l: &model::Layer| {
            let model::FeedForward::Dense(f) = &l.feed_forward;
            Ok(LayerVectors {
                attention_norm: read(l.attention_norm)?,
                query_bias: bias(l.attention.query.bias)?,
                key_bias: bias(l.attention.key.bias)?,
                value_bias: bias(l.attention.value.bias)?,
                output_bias: bias(l.attention.output.bias)?,
                feed_forward_norm: read(l.feed_forward_norm)?,
                gate_bias: bias(f.gate.bias)?,
                up_bias: bias(f.up.bias)?,
                down_bias: bias(f.down.bias)?,
            })
        };
        Ok(Vectors {
            layers: spec.layers.iter().map(layer).collect::<Result<_, StoreError>>()?,
            output_norm: read(spec.output_norm)?,
        })
    }
}
