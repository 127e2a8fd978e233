//! The feed-forward step: `x += down(silu(gate(x)) * up(x))`, of the normed `x`.

use model::{Dense, FeedForward};

use crate::backend::Projection;
use crate::{Backend, ForwardError, Placement, Runner};

impl<B: Backend> Runner<B> {
    /// Adds a layer's feed-forward step to the residual stream.
    pub(crate) fn feed_forward(&mut self, layer: usize, placement: &Placement) -> Result<(), ForwardError> {
        // normed [rows, dim]
        let norm = &self.vectors.layers[layer].feed_forward_norm;
        self.backend.rms_norm(&self.scratch.x, norm, self.spec.norm_eps, &mut self.scratch.normed);
        match self.spec.layers[layer].feed_forward {
            FeedForward::Dense(dense) => self.dense(layer, &dense, placement.n_few)?,
        }
        self.backend.add(&mut self.scratch.x, &self.scratch.delta);
        Ok(())
    }

    /// `delta = down(silu(gate(normed)) * up(normed))`.
    fn dense(&mut self, layer: usize, dense: &Dense, n_few: usize) -> Result<(), ForwardError> {
        let Runner { store, backend, vectors, scratch: s, .. } = self;
        let vectors = &vectors.layers[layer];

        // gate, up [rows, ffn]
        let mut gate_up = [
            Projection { weight: dense.gate.weight, bias: vectors.gate_bias.as_ref(), out: &mut s.gate },
            Projection { weight: dense.up.weight, bias: vectors.up_bias.as_ref(), out: &mut s.up },
        ];
        backend.project(store, &s.normed, n_few, &mut gate_up)?;
        backend.swiglu(&mut s.gate, &s.up);

        let down = Projection { weight: dense.down.weight, bias: vectors.down_bias.as_ref(), out: &mut s.delta };
        backend.project(store, &s.gate, n_few, &mut [down])?;
        Ok(())
    }
}
