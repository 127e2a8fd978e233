//! All activations of a pass: allocated once for a size of batch, reused from pass to pass.

use model::{FeedForward, ModelSpec};
use store::StoreError;

use crate::Backend;

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
    /// `n_vocab` wide, with a row for each that wants logits.
    pub(crate) logits: T,
    /// Cosine and sine of every row's rotations, `[rows, rope dims / 2]`.
    pub(crate) angles: Vec<[f32; 2]>,
}

/// The widest layer's widths.
#[derive(Clone, Copy, Default)]
struct Widths {
    q: usize,
    k: usize,
    v: usize,
    attended: usize,
    ffn: usize,
}

impl Widths {
    fn of(spec: &ModelSpec) -> Widths {
        spec.layers.iter().fold(Widths::default(), |widest, layer| {
            let a = &layer.attention;
            let FeedForward::Dense(f) = &layer.feed_forward;
            let (k, v) = layer.kv_widths();
            Widths {
                q: widest.q.max(a.n_heads * a.head_dim),
                k: widest.k.max(k),
                v: widest.v.max(v),
                attended: widest.attended.max(a.n_heads * a.value_dim),
                ffn: widest.ffn.max(f.up.weight.rows),
            }
        })
    }
}

impl<T> Scratch<T> {
    /// Errors: the budget has no memory for it.
    pub(crate) fn new<B: Backend<Tensor = T>>(
        backend: &B,
        spec: &ModelSpec,
        size: BatchSize,
    ) -> Result<Scratch<T>, StoreError> {
        let tensor = |width| backend.tensor(size.rows, width);
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
            logits: backend.tensor(size.logit_rows, spec.n_vocab)?,
            angles: Vec::with_capacity(size.rows * spec.rope.dims / 2),
        })
    }
}

/// Bytes of the activations of such a batch, and of its logits, which are handed out as a copy. What the backend needs for
/// itself comes to that: [`Backend::buffer_bytes`].
pub fn activation_bytes(spec: &ModelSpec, size: BatchSize) -> u64 {
    let widths = Widths::of(spec);
    let width = widths.q + widths.k + widths.v + widths.attended + 2 * widths.ffn + 3 * spec.dim + spec.rope.dims;
    (4 * (size.rows * width + 2 * size.logit_rows * spec.n_vocab)) as u64
}
