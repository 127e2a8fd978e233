//! THE forward pass. Newcomers start here.
//!
//! [`Pass::run`] is the whole of it: look up the tokens' embeddings, let every layer add its steps to them, and turn the rows
//! that want logits into logits. All tensors are `[rows, width]`, one row per token of the batch; they live in [`Scratch`]
//! and are reused from pass to pass. The model's description says what differs between models.

use model::{Attention, Branch, Dense, Mixer, ModelSpec, Residual};
use store::WeightStore;

use crate::error::ForwardError;
use crate::kv::pages::KvPages;
use crate::kv::window::Window;
use crate::logits::{LogitPlan, Logits};
use crate::ops::{AttendShape, Backend};
use crate::placement::Placement;
use crate::projection::{embed, project};
use crate::rotations::Rotations;
use crate::scratch::Scratch;
use crate::vectors::Vectors;

/// Hidden states that are copied out at once, so that the copies stay small.
const POOLED_ROWS: usize = 16;

/// Everything that one pass works with.
pub(crate) struct Pass<'a, B: Backend> {
    pub(crate) spec: &'a ModelSpec,
    pub(crate) store: &'a WeightStore,
    pub(crate) ops: &'a mut B,
    pub(crate) kv: &'a mut B::Kv,
    pub(crate) vectors: &'a Vectors<B::Tensor>,
    pub(crate) rotations: &'a mut Rotations,
    pub(crate) s: &'a mut Scratch<B::Tensor>,
    pub(crate) placement: &'a Placement,
    /// What a token sees at most, whatever its layer's window.
    pub(crate) window: Window,
}

impl<B: Backend> Pass<'_, B> {
    /// The logits of the rows that want them, `[rows, n_vocab]`, and sums of hidden states, `[dim]` each.
    pub(crate) fn run(mut self, wanted: &LogitPlan, pooled_rows: &[Vec<usize>]) -> Result<Logits, ForwardError> {
        let (spec, rows) = (self.spec, &self.placement.rows);
        self.rotations.turn_to(rows);

        // x [rows, dim], the residual stream, begins as the tokens' embeddings.
        embed(self.ops, self.store, spec, rows, &mut self.s.x)?;
        if spec.embedding_scale != 1.0 {
            self.ops.scale(&mut self.s.x, spec.embedding_scale);
        }
        let mut n_attended = 0;
        for residual in spec.layers.iter().flat_map(|layer| &layer.residuals) {
            self.residual(residual, &mut n_attended)?;
        }
        let pooled = pooled_rows.iter().map(|rows| self.hidden(rows)).collect::<Result<_, _>>()?;
        let logits = self.logits(wanted)?.with_pooled(pooled);

        self.store.verify()?;
        Ok(logits)
    }

    /// `x += scale * sum of post_norm(mixer(norm(x)))`.
    fn residual(&mut self, residual: &Residual, n_attended: &mut usize) -> Result<(), ForwardError> {
        let (last, others) = residual.branches.split_last().expect("a step has a branch");
        for (i, branch) in others.iter().enumerate() {
            self.branch(branch, n_attended)?;
            if i == 0 {
                std::mem::swap(&mut self.s.delta, &mut self.s.sum);
            } else {
                self.ops.add(&mut self.s.sum, &self.s.delta);
            }
        }
        self.branch(last, n_attended)?;
        if !others.is_empty() {
            self.ops.add(&mut self.s.delta, &self.s.sum);
        }
        if residual.scale != 1.0 {
            self.ops.scale(&mut self.s.delta, residual.scale);
        }
        self.ops.add(&mut self.s.x, &self.s.delta);
        Ok(())
    }

    /// `delta [rows, dim] = post_norm(mixer(norm(x)))`.
    fn branch(&mut self, branch: &Branch, n_attended: &mut usize) -> Result<(), ForwardError> {
        // normed [rows, dim]
        match &branch.norm {
            Some(norm) => self.ops.norm(&self.s.x, norm, self.vectors.get(norm.weight), &mut self.s.normed),
            None => {
                let all: Vec<usize> = (0..self.placement.rows.len()).collect();
                self.ops.select(&self.s.x, &all, &mut self.s.normed);
            }
        }
        match &branch.mixer {
            Mixer::Attention(attention) => {
                self.attention(attention, *n_attended)?;
                *n_attended += 1;
            }
            Mixer::Dense(dense) => self.dense(dense)?,
        }
        if let Some(norm) = &branch.post_norm {
            self.ops.norm_in_place(&mut self.s.delta, norm, self.vectors.get(norm.weight));
        }
        Ok(())
    }

    /// `delta = output(attend(rope(norm(query)), rope(norm(key)), value))`, all of `normed`. Keys and values go to the KV
    /// pages of attention step `index`.
    fn attention(&mut self, a: &Attention, index: usize) -> Result<(), ForwardError> {
        let Pass { store, ops, kv, vectors, rotations, s, placement, window, .. } = self;
        let n_few = placement.n_few;

        // q [rows, n_heads * head_dim], k [rows, n_kv_heads * head_dim], v [rows, n_kv_heads * value_dim]
        let query = vectors.product(&a.query, &mut s.q);
        let key = vectors.product(&a.key, &mut s.k);
        let value = vectors.product(&a.value, &mut s.v);
        project(*ops, store, &s.normed, n_few, &mut [query, key, value])?;
        for (norm, x) in [(&a.query_norm, &mut s.q), (&a.key_norm, &mut s.k)] {
            if let Some(norm) = norm {
                ops.norm_in_place(x, norm, vectors.get(norm.weight));
            }
            if let Some(rope) = &a.rope {
                ops.rope(x, a.head_dim, rope, rotations.angles(rope));
            }
        }

        // Every row's key and value is stored before any row attends, so a batch may hold a whole prompt.
        kv.append(index, placement, &s.k, &s.v);
        let shape = AttendShape {
            layer: index,
            n_heads: a.n_heads,
            n_kv_heads: a.n_kv_heads,
            head_dim: a.head_dim,
            value_dim: a.value_dim,
            window: Window { len: window.len.min(a.window.unwrap_or(usize::MAX)), ..*window },
            scale: a.scale,
            soft_cap: a.soft_cap,
        };
        // attended [rows, n_heads * value_dim]
        ops.attend(*kv, shape, placement, &s.q, &mut s.attended)?;
        project(*ops, store, &s.attended, n_few, &mut [vectors.product(&a.output, &mut s.delta)])?;
        Ok(())
    }

    /// `delta = down(activation(gate(normed)) * up(normed))`.
    fn dense(&mut self, dense: &Dense) -> Result<(), ForwardError> {
        let Pass { store, ops, vectors, s, placement, .. } = self;

        // gate, up [rows, ffn]
        let (gate, up) = (vectors.product(&dense.gate, &mut s.gate), vectors.product(&dense.up, &mut s.up));
        project(*ops, store, &s.normed, placement.n_few, &mut [gate, up])?;
        ops.gate(dense.activation, &mut s.gate, &s.up);
        project(*ops, store, &s.gate, placement.n_few, &mut [vectors.product(&dense.down, &mut s.delta)])?;
        Ok(())
    }

    /// `normed [rows, dim]`: the chosen rows behind the last norm.
    fn output_states(&mut self, rows: &[usize]) {
        let norm = &self.spec.output_norm;
        self.ops.select(&self.s.x, rows, &mut self.s.delta);
        self.ops.norm(&self.s.delta, norm, self.vectors.get(norm.weight), &mut self.s.normed);
    }

    /// The sum `[dim]` of the rows' hidden states behind the last norm.
    fn hidden(&mut self, rows: &[usize]) -> Result<Vec<f32>, ForwardError> {
        let mut sum = vec![0.0; self.spec.dim];
        for rows in rows.chunks(POOLED_ROWS) {
            self.output_states(rows);
            for states in self.ops.read(&self.s.normed)?.values().chunks_exact(sum.len()) {
                sum.iter_mut().zip(states).for_each(|(sum, state)| *sum += state);
            }
        }
        Ok(sum)
    }

    /// Logits `[wanted, n_vocab]`: the other rows never meet the output head.
    fn logits(&mut self, wanted: &LogitPlan) -> Result<Logits, ForwardError> {
        if wanted.len() == 0 {
            return Ok(Logits::default());
        }
        self.output_states(&wanted.rows());
        let Pass { spec, store, ops, vectors, s, .. } = self;
        let head = vectors.product(&spec.output, &mut s.logits);
        project(*ops, store, &s.normed, wanted.n_few(), &mut [head])?;
        if spec.logit_scale != 1.0 {
            ops.scale(&mut s.logits, spec.logit_scale);
        }
        if let Some(cap) = spec.logit_soft_cap {
            ops.soft_cap(&mut s.logits, cap);
        }
        Ok(wanted.logits(ops.read(&s.logits)?, spec.n_vocab))
    }
}
