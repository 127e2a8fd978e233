//! All activations of a pass: allocated once, reused from pass to pass.

use model::{FeedForward, ModelSpec};

use crate::Backend;

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

impl<T> Scratch<T> {
    pub(crate) fn new<B: Backend<Tensor = T>>(backend: &B) -> Scratch<T> {
        let tensor = || backend.tensor();
        Scratch {
            x: tensor(),
            normed: tensor(),
            q: tensor(),
            k: tensor(),
            v: tensor(),
            attended: tensor(),
            gate: tensor(),
            up: tensor(),
            delta: tensor(),
            logits: tensor(),
            angles: Vec::new(),
        }
    }
}

/// Bytes of the activations of a batch of `rows` tokens of which `logit_rows` want logits.
///
/// Counts each tensor once, the quantised copy of the widest input, and the logits twice, since they are handed out.
pub fn activation_bytes(spec: &ModelSpec, rows: usize, logit_rows: usize) -> u64 {
    let widths = spec.layers.iter().map(|layer| {
        let a = &layer.attention;
        let FeedForward::Dense(f) = &layer.feed_forward;
        let (keys, values) = layer.kv_widths();
        let attention = a.n_heads * (a.head_dim + a.value_dim) + keys + values;
        let ffn = f.up.weight.rows;
        // A quantised copy takes at most 4 bytes an element, as much as one more tensor of its width.
        attention + 2 * ffn + ffn.max(spec.dim).max(a.n_heads * a.value_dim)
    });
    let width = widths.max().unwrap_or(0) + 3 * spec.dim + spec.rope.dims;
    (4 * (rows * width + 2 * logit_rows * spec.n_vocab)) as u64
}
