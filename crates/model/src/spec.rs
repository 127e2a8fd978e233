//! The network as data: which weights there are, how they are shaped and which variant of each step they feed.
//!
//! [`ModelSpec`] is what an architecture's description (`arch/`) makes of a GGUF header. Enums are closed: a new kind of
//! attention or feed-forward is a variant, and forgetting to handle it does not compile. Weights are references into
//! [`ModelSpec::tensors`]; nothing here holds or reads their bytes.

use kernels::{QuantType, RopeLayout};

use crate::gguf::TensorInfo;

/// A model that this program can run.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// `general.name`, or the architecture if the file has no name.
    pub name: String,
    /// Every tensor of the file; [`TensorId`] is an index into it.
    pub tensors: Vec<TensorInfo>,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of token ids.
    pub n_vocab: usize,
    /// The longest context that the model was made for, in tokens.
    pub context_length: usize,
    /// The most tokens that a token sees, of which it is the last, if not all.
    pub sliding_window: Option<usize>,
    /// How the model makes one vector of a text, if it was made for that.
    pub pooling: Option<Pooling>,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Rotary position embedding, the same in all layers.
    pub rope: Rope,
    /// `[n_vocab, dim]`, read row by row.
    pub embedding: Matrix,
    /// In the order of the pass.
    pub layers: Vec<Layer>,
    /// Before the output head.
    pub output_norm: Vector,
    /// `[n_vocab, dim]`; the embedding itself where the file ties them.
    pub output: Matrix,
}

/// Which hidden states stand for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over its tokens.
    Mean,
    /// That of its first token.
    First,
    /// That of its last token.
    Last,
}

/// Index of a tensor in [`ModelSpec::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

/// A weight matrix, `[rows, cols]`, rows contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Where its bytes are.
    pub tensor: TensorId,
    /// How they are quantised.
    pub quant: QuantType,
    /// Output width.
    pub rows: usize,
    /// Input width.
    pub cols: usize,
}

/// A small vector of weights, such as a norm's scale or a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Where its bytes are.
    pub tensor: TensorId,
    /// Number of elements.
    pub len: usize,
}

/// `y = weight x + bias`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The matrix.
    pub weight: Matrix,
    /// Added to the product, if the model has one.
    pub bias: Option<Vector>,
}

/// One transformer layer: attention, then feed-forward, each behind its norm and added to the residual stream.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Scale of the norm before attention.
    pub attention_norm: Vector,
    /// The attention step.
    pub attention: Attention,
    /// Scale of the norm before the feed-forward step.
    pub feed_forward_norm: Vector,
    /// The feed-forward step.
    pub feed_forward: FeedForward,
}

/// Causal attention with grouped queries; `n_kv_heads == n_heads` is multi-head attention, 1 is multi-query.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// `[n_heads * head_dim, dim]`.
    pub query: Linear,
    /// `[n_kv_heads * head_dim, dim]`.
    pub key: Linear,
    /// `[n_kv_heads * value_dim, dim]`.
    pub value: Linear,
    /// `[dim, n_heads * value_dim]`.
    pub output: Linear,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
}

/// What follows attention.
#[derive(Clone, Copy, Debug)]
pub enum FeedForward {
    /// `down(silu(gate x) * up x)`.
    Dense(Dense),
}

/// The gated feed-forward step with SiLU.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// `[ffn, dim]`.
    pub gate: Linear,
    /// `[ffn, dim]`.
    pub up: Linear,
    /// `[dim, ffn]`.
    pub down: Linear,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Which elements of a head form a pair.
    pub layout: RopeLayout,
    /// Rotated elements at the head's start; the rest passes unrotated.
    pub dims: usize,
    /// Base of the geometric series of angles.
    pub base: f32,
    /// Positions are divided by this (linear context extension); 1 is none.
    pub linear_scale: f32,
    /// Each pair's angle is divided by its factor (Llama 3.1), `[dims / 2]`.
    pub factors: Option<Vector>,
}

impl ModelSpec {
    /// The tensor behind a reference.
    pub fn tensor(&self, id: TensorId) -> &TensorInfo {
        &self.tensors[id.0 as usize]
    }

    /// Number of weights in all tensors.
    pub fn n_parameters(&self) -> u64 {
        self.tensors.iter().map(|t| t.shape.iter().product::<u64>()).sum()
    }

    /// The matrices that a pass multiplies with, in the order in which it needs them; the embedding is not among them.
    pub fn pass_order(&self) -> Vec<Matrix> {
        let mut matrices = Vec::new();
        for layer in &self.layers {
            matrices.extend(layer.matrices());
        }
        matrices.push(self.output);
        matrices
    }
}

impl Layer {
    /// The matrices that a pass multiplies with in this layer, in the order in which it needs them.
    pub fn matrices(&self) -> Vec<Matrix> {
        let a = &self.attention;
        let mut matrices = vec![a.query.weight, a.key.weight, a.value.weight, a.output.weight];
        match &self.feed_forward {
            FeedForward::Dense(f) => matrices.extend([f.gate.weight, f.up.weight, f.down.weight]),
        }
        matrices
    }

    /// Elements that one token adds to the key cache and to the value cache.
    pub fn kv_widths(&self) -> (usize, usize) {
        let a = &self.attention;
        (a.n_kv_heads * a.head_dim, a.n_kv_heads * a.value_dim)
    }
}
