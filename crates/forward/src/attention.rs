//! The attention step: `x += output(attend(rope(query), rope(key), value))`, all of the normed `x`.

use crate::backend::{AttendShape, Projection};
use crate::{Backend, ForwardError, Placement, Runner, RunnerOptions};

impl<B: Backend> Runner<B> {
    /// Adds a layer's attention to the residual stream and its keys and values to the KV cache.
    pub(crate) fn attention(&mut self, layer: usize, placement: &Placement) -> Result<(), ForwardError> {
        let Runner { spec, store, backend, vectors, scratch: s, options: RunnerOptions { window, .. }, .. } = self;
        let attention = &spec.layers[layer].attention;
        let vectors = &vectors.layers[layer];

        // normed [rows, dim]
        backend.rms_norm(&s.x, &vectors.attention_norm, spec.norm_eps, &mut s.normed);

        // q [rows, n_heads * head_dim], k [rows, n_kv_heads * head_dim], v [rows, n_kv_heads * value_dim]
        let mut qkv = [
            Projection { weight: attention.query.weight, bias: vectors.query_bias.as_ref(), out: &mut s.q },
            Projection { weight: attention.key.weight, bias: vectors.key_bias.as_ref(), out: &mut s.k },
            Projection { weight: attention.value.weight, bias: vectors.value_bias.as_ref(), out: &mut s.v },
        ];
        backend.project(store, &s.normed, placement.n_few, &mut qkv)?;
        backend.rope(&mut s.q, attention.head_dim, &spec.rope, &s.angles);
        backend.rope(&mut s.k, attention.head_dim, &spec.rope, &s.angles);

        // Every row's key and value is in the cache before any row attends, so a batch may hold a whole prompt.
        backend.append_kv(layer, placement, &s.k, &s.v);
        let shape = AttendShape {
            layer,
            n_heads: attention.n_heads,
            n_kv_heads: attention.n_kv_heads,
            head_dim: attention.head_dim,
            value_dim: attention.value_dim,
            window: *window,
        };
        // attended [rows, n_heads * value_dim]
        backend.attend(shape, placement, &s.q, &mut s.attended)?;

        let output =
            Projection { weight: attention.output.weight, bias: vectors.output_bias.as_ref(), out: &mut s.delta };
        backend.project(store, &s.attended, placement.n_few, &mut [output])?;
        backend.add(&mut s.x, &s.delta);
        Ok(())
    }
}
