//! All activations of a pass: allocated once for a size of batch, reused from pass to pass.

use model::{Layer, Mixer, ModelSpec};
use store::StoreError;

use crate::ops::Device;
use crate::rotations::distinct;

/// How large the batches are that buffers have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Tokens.
    pub rows: usize,
    /// Of them, those that want logits.
    pub logit_rows: usize,
}

impl BatchSize {
    /// Whether a batch of this size fits buffers for one of that size.
    pub(crate) fn fits(self, room: BatchSize) -> bool {
        self.rows <= room.rows && self.logit_rows <= room.logit_rows
    }
}

/// The tensors that the steps of a pass hand to each other, `[rows, width]`.
pub(crate) struct Scratch<T> {
    /// The residual stream, `dim` wide.
    pub(crate) x: T,
    /// The residual stream behind a norm, `dim` wide.
    pub(crate) normed: T,
    /// Queries, `n_heads * head_dim` wide.
    pub(crate) q: T,
    /// Keys, `n_kv_heads * head_dim` wide.
    pub(crate) k: T,
    /// Values, `n_kv_heads * value_dim` wide.
    pub(crate) v: T,
    /// What the heads attended to, `n_heads * value_dim` wide.
    pub(crate) attended: T,
    /// The feed-forward step's gate and then its product with `up`, `ffn` wide.
    pub(crate) gate: T,
    /// The feed-forward step's other half, `ffn` wide.
    pub(crate) up: T,
    /// What a step adds to the residual stream, `dim` wide.
    pub(crate) delta: T,
    /// What parallel branches of a step add together, `dim` wide where a model has such.
    pub(crate) sum: T,
    /// `n_vocab` wide, with a row for each that wants logits.
    pub(crate) logits: T,
}

/// The widest layer's widths.
#[derive(Clone, Copy, Default)]
struct Widths {
    q: usize,
    k: usize,
    v: usize,
    attended: usize,
    ffn: usize,
    sum: usize,
}

impl Widths {
    fn of(spec: &ModelSpec) -> Widths {
        let mut widest = Widths::default();
        let up = |width: &mut usize, other: usize| *width = other.max(*width);
        for mixer in spec.layers.iter().flat_map(Layer::mixers) {
            match mixer {
                Mixer::Attention(a) => {
                    up(&mut widest.q, a.n_heads * a.head_dim);
                    up(&mut widest.k, a.n_kv_heads * a.head_dim);
                    up(&mut widest.v, a.n_kv_heads * a.value_dim);
                    up(&mut widest.attended, a.n_heads * a.value_dim);
                }
                Mixer::Dense(dense) => up(&mut widest.ffn, dense.up.weight.rows),
            }
        }
        let has_parallel = spec.layers.iter().flat_map(|layer| &layer.residuals).any(|step| step.branches.len() > 1);
        widest.sum = if has_parallel { spec.dim } else { 0 };
        widest
    }
}

impl<T> Scratch<T> {
    /// Errors: the budget has no memory for it.
    pub(crate) fn new<D: Device<Tensor = T>>(
        device: &D,
        spec: &ModelSpec,
        size: BatchSize,
    ) -> Result<Scratch<T>, StoreError> {
        let tensor = |width| device.tensor(size.rows, width);
        let widths = Widths::of(spec);
        // The rows that want logits pass through `delta` and `normed` too, and are no more than all.
        Ok(Scratch {
            x: tensor(spec.dim)?,
            normed: tensor(spec.dim)?,
            q: tensor(widths.q)?,
            k: tensor(widths.k)?,
            v: tensor(widths.v)?,
            attended: tensor(widths.attended)?,
            gate: tensor(widths.ffn)?,
            up: tensor(widths.ffn)?,
            delta: tensor(spec.dim)?,
            sum: tensor(widths.sum)?,
            logits: device.tensor(size.logit_rows, spec.n_vocab)?,
        })
    }
}

/// Bytes of the activations of such a batch, and of its logits, which are handed out as a copy. What the backend needs
/// besides is its [`Footprint`](crate::Footprint).
pub fn activation_bytes(spec: &ModelSpec, size: BatchSize) -> u64 {
    let widths = Widths::of(spec);
    let angles: usize = distinct(spec).iter().map(|rope| rope.dims).sum();
    let of_layers = widths.q + widths.k + widths.v + widths.attended + 2 * widths.ffn + widths.sum;
    (4 * (size.rows * (of_layers + 3 * spec.dim + angles) + 2 * size.logit_rows * spec.n_vocab)) as u64
}
