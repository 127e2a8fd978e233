//! The network as data: which weights there are, how they are shaped and which variant of each step they feed.
//!
//! [`ModelSpec`] is what an architecture's description (`arch/`) makes of a GGUF header. A [`Layer`] is a list of
//! [`Residual`] steps, all of one shape: `x += scale * sum(post_norm(mixer(norm(x))))`. What differs between models is data
//! in them; the kinds of [`Mixer`] are a closed enum, so that forgetting to handle one does not compile.
//!
//! Weights are references into [`ModelSpec::tensors`]: nothing here holds or reads their bytes. [`ModelSpec::walk`] is the
//! one answer to which matrices a pass uses, and in which order.

use kernels::{Activation, QuantType, RopeLayout};

use crate::gguf::tensor::TensorInfo;

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
    /// The longest context that the model was trained for, in tokens.
    pub context_length: usize,
    /// How the model makes one vector of a text, if it was trained for that.
    pub pooling: Option<Pooling>,
    /// `[n_vocab, dim]`, read row by row.
    pub embedding: Matrix,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// In the order of the pass.
    pub layers: Vec<Layer>,
    /// Before the output head.
    pub output_norm: Norm,
    /// `[n_vocab, dim]`; the embedding itself where the file ties them.
    pub output: Linear,
    /// Logits are multiplied by this.
    pub logit_scale: f32,
    /// Logits become `cap * tanh(logit / cap)`, if the model has a cap.
    pub logit_soft_cap: Option<f32>,
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

/// The identity of a weight matrix: a tensor of two dimensions, or one matrix of a tensor of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Part {
    /// The tensor.
    pub tensor: TensorId,
    /// Which of its matrices, such as an expert's number; 0 where there is one.
    pub index: u32,
}

/// A weight matrix, `[rows, cols]`, rows contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Where its bytes are.
    pub part: Part,
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

/// Divides by the root mean square and multiplies by a weight (RMSNorm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// One factor per element. A row longer than it is normalised in runs of this length, such as heads.
    pub weight: Vector,
    /// Added to the mean square.
    pub eps: f32,
}

/// One transformer layer: what is added to the residual stream, step by step.
#[derive(Clone, Debug)]
pub struct Layer {
    /// In the order of the pass; usually attention, then feed-forward.
    pub residuals: Vec<Residual>,
}

/// `x += scale * sum of post_norm(mixer(norm(x)))` over its branches, which all read the same `x`.
#[derive(Clone, Debug)]
pub struct Residual {
    /// Usually one; attention and feed-forward where a model computes them in parallel.
    pub branches: Vec<Branch>,
    /// The sum is multiplied by this.
    pub scale: f32,
}

/// `post_norm(mixer(norm(x)))`.
#[derive(Clone, Copy, Debug)]
pub struct Branch {
    /// Before the mixer.
    pub norm: Option<Norm>,
    /// The step itself.
    pub mixer: Mixer,
    /// After the mixer.
    pub post_norm: Option<Norm>,
}

/// The kinds of steps that layers are made of.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has a few hundred, and they are walked in order")]
pub enum Mixer {
    /// Mixes tokens.
    Attention(Attention),
    /// `down(activation(gate x) * up x)`.
    Dense(Dense),
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
    /// Of queries, before they are rotated.
    pub query_norm: Option<Norm>,
    /// Of keys, before they are rotated.
    pub key_norm: Option<Norm>,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// How positions enter, if they do.
    pub rope: Option<Rope>,
    /// A token attends to at most this many tokens, the last of which is itself.
    pub window: Option<usize>,
    /// Products of queries and keys are multiplied by this.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`, if the model has a cap.
    pub soft_cap: Option<f32>,
}

/// The gated feed-forward step.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// `[ffn, dim]`.
    pub gate: Linear,
    /// `[ffn, dim]`.
    pub up: Linear,
    /// `[dim, ffn]`.
    pub down: Linear,
    /// Of the gate.
    pub activation: Activation,
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

/// One use of a matrix by a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// What is multiplied with.
    pub matrix: Matrix,
    /// In which layer; `None` for the output head.
    pub layer: Option<usize>,
    /// Whether every pass uses it.
    pub when: When,
}

/// When a pass uses a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In every pass: it belongs to the trunk.
    Always,
    /// When a router picks it.
    Routed,
}

impl Part {
    /// A tensor that is one matrix.
    pub fn whole(tensor: TensorId) -> Part {
        Part { tensor, index: 0 }
    }
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
    ///
    /// Whatever depends on which weights there are and when they are needed is derived from this walk.
    pub fn walk(&self) -> impl Iterator<Item = Use> + '_ {
        let in_layer = |(i, layer): (usize, &Layer)| {
            let matrices: Vec<Matrix> = layer.mixers().flat_map(Mixer::matrices).collect();
            matrices.into_iter().map(move |matrix| Use { matrix, layer: Some(i), when: When::Always })
        };
        let output = Use { matrix: self.output.weight, layer: None, when: When::Always };
        self.layers.iter().enumerate().flat_map(in_layer).chain([output])
    }

    /// The attention steps, in the order of the pass: each has keys and values in the KV cache.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.layers.iter().flat_map(Layer::mixers).filter_map(|mixer| match mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::Dense(_) => None,
        })
    }

    /// The small vectors, which stay in memory.
    pub fn vectors(&self) -> impl Iterator<Item = Vector> + '_ {
        let of_branch = |branch: &Branch| {
            let norms = [branch.norm, branch.post_norm].into_iter().flatten().map(|norm| norm.weight);
            norms.chain(branch.mixer.vectors()).collect::<Vec<Vector>>()
        };
        let branches = self.layers.iter().flat_map(Layer::branches).flat_map(of_branch);
        branches.chain([self.output_norm.weight]).chain(self.output.bias)
    }

    /// The most tokens that any token attends to, if every layer has a window.
    pub fn widest_window(&self) -> Option<usize> {
        self.attentions().map(|attention| attention.window).max_by_key(|window| window.unwrap_or(usize::MAX)).flatten()
    }
}

impl Layer {
    fn branches(&self) -> impl Iterator<Item = &Branch> {
        self.residuals.iter().flat_map(|residual| &residual.branches)
    }

    /// Its steps, in the order of the pass.
    pub fn mixers(&self) -> impl Iterator<Item = &Mixer> {
        self.branches().map(|branch| &branch.mixer)
    }
}

impl Mixer {
    /// In the order in which a pass needs them.
    fn matrices(&self) -> Vec<Matrix> {
        self.linears().iter().map(|linear| linear.weight).collect()
    }

    fn vectors(&self) -> Vec<Vector> {
        let mut vectors: Vec<Vector> = self.linears().iter().filter_map(|linear| linear.bias).collect();
        if let Mixer::Attention(a) = self {
            vectors.extend([a.query_norm, a.key_norm].into_iter().flatten().map(|norm| norm.weight));
        }
        vectors
    }

    fn linears(&self) -> Vec<Linear> {
        match self {
            Mixer::Attention(a) => vec![a.query, a.key, a.value, a.output],
            Mixer::Dense(f) => vec![f.gate, f.up, f.down],
        }
    }
}
