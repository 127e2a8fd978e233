//! Random models of a real architecture, small enough to compute by hand and complete enough to run.
//!
//! [`TinySpec`] says what the model is like; start from [`TinyModel::llama`] or [`TinyModel::qwen2`] and change fields:
//! `TinySpec { n_layers: 3, ..TinyModel::llama() }.build()`. [`TinyModel`] then holds the exact weights, which
//! [`reference`](crate::reference) computes with, and [`TinyModel::gguf_bytes`] is the file that an engine loads.
//! The same spec gives the same file on every machine.
//!
//! A linear map's weights have the standard deviation `1 / sqrt(inputs)`, so that every activation, attention score and
//! logit is of the order of one: nothing saturates, and no part of the model is too small to be missed in the logits.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::random_matrix::{Matrix, random_vector};
use crate::tensor_type::TensorType;
use crate::tiny_vocab::Vocabulary;

/// The architecture of a tiny model: `general.architecture`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// RoPE turns neighbours, the pairs (2i, 2i + 1): conversion to GGUF permutes the query and key weights to that end.
    Llama,
    /// RoPE turns halves, the pairs (i, i + n/2); queries, keys and values have biases.
    Qwen2,
    /// As Qwen2 without biases; the heads of queries and keys are normalised.
    Qwen3,
    /// As Qwen3 with norms after each step too, GELU, scaled embeddings, and layers with a window and a rotation for it.
    Gemma3,
}

impl Architecture {
    /// `general.architecture`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Gemma3 => "gemma3",
        }
    }

    /// Whether queries and keys are normalised.
    pub(crate) fn has_qk_norms(self) -> bool {
        matches!(self, Architecture::Qwen3 | Architecture::Gemma3)
    }

    /// Whether each step is normalised before it is added.
    pub(crate) fn has_post_norms(self) -> bool {
        self == Architecture::Gemma3
    }
}

/// What turns the last hidden state into logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The token embedding once more; the file has no `output.weight`.
    Tied,
    /// A matrix of its own.
    Separate,
}

/// What a tiny model is like.
#[derive(Clone, Debug)]
pub struct TinySpec {
    /// `general.architecture`.
    pub architecture: Architecture,
    /// Chooses the random weights.
    pub seed: u64,
    /// Number of transformer layers.
    pub n_layers: usize,
    /// Length of the hidden state.
    pub dim: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads, a divisor of `n_heads`.
    pub n_kv_heads: usize,
    /// Length of a query, key and value of one head; the file names it when it is not `dim / n_heads`.
    pub head_dim: usize,
    /// Length of the feed-forward network's inner state.
    pub ffn_dim: usize,
    /// Token ids, at least 300 for a complete vocabulary.
    pub n_vocab: usize,
    /// Positions that the model claims to be trained for.
    pub context_len: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_eps: f32,
    /// Base of the rotation's frequencies.
    pub rope_base: f32,
    /// How much of each head is rotated, an even number.
    pub rope_dim: usize,
    /// Linear position scaling: positions are divided by it. The file names it when it is not 1.
    pub rope_scale: f32,
    /// The most tokens that a token sees, as `attention.sliding_window`.
    pub sliding_window: Option<usize>,
    /// Every so many layers one has no window, as `attention.sliding_window_pattern`; Gemma 3 only.
    pub window_period: usize,
    /// Llama 3's divisors of the frequencies, `rope_dim / 2` of them, as `rope_freqs.weight`.
    pub rope_factors: Option<Vec<f32>>,
    /// Tied or separate output matrix.
    pub output: Output,
    /// Whether queries, keys and values have biases; Qwen2 always has them.
    pub qkv_biases: bool,
    /// The type of every matrix that `type_overrides` does not name.
    pub tensor_type: TensorType,
    /// Types of single matrices, by the name without `blk.N.` and `.weight`, such as `("ffn_down", TensorType::Q6_K)`.
    pub type_overrides: Vec<(String, TensorType)>,
    /// The tokenizer in the file.
    pub vocabulary: Vocabulary,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
}

/// Weights of one transformer layer.
#[derive(Clone, Debug)]
pub struct TinyLayer {
    /// RMSNorm before attention: `[dim]`.
    pub attn_norm: Vec<f64>,
    /// Queries: `[n_heads * head_dim, dim]`.
    pub attn_q: Matrix,
    /// Keys: `[n_kv_heads * head_dim, dim]`.
    pub attn_k: Matrix,
    /// Values: `[n_kv_heads * head_dim, dim]`.
    pub attn_v: Matrix,
    /// Biases of queries, keys and values, each as long as its matrix has rows.
    pub qkv_biases: Option<[Vec<f64>; 3]>,
    /// RMSNorm of the heads of queries and of keys: `[head_dim]` each.
    pub qk_norms: Option<[Vec<f64>; 2]>,
    /// Attention's output: `[dim, n_heads * head_dim]`.
    pub attn_output: Matrix,
    /// RMSNorm after attention and after the feed-forward network: `[dim]` each.
    pub post_norms: Option<[Vec<f64>; 2]>,
    /// RMSNorm before the feed-forward network: `[dim]`.
    pub ffn_norm: Vec<f64>,
    /// The gate, which passes through SiLU: `[ffn_dim, dim]`.
    pub ffn_gate: Matrix,
    /// The gated values: `[ffn_dim, dim]`.
    pub ffn_up: Matrix,
    /// Back to the hidden state: `[dim, ffn_dim]`.
    pub ffn_down: Matrix,
}

/// A random model with its exact weights.
#[derive(Clone, Debug)]
pub struct TinyModel {
    /// What the model is like.
    pub spec: TinySpec,
    /// Token embeddings: `[n_vocab, dim]`.
    pub token_embd: Matrix,
    /// The layers, first to last.
    pub layers: Vec<TinyLayer>,
    /// RMSNorm before the output: `[dim]`.
    pub output_norm: Vec<f64>,
    /// The output matrix if it is separate: `[n_vocab, dim]`.
    pub output: Option<Matrix>,
}

impl TinyModel {
    /// A Llama of two layers and 64 dimensions, in F32, with everything optional left out.
    pub fn llama() -> TinySpec {
        TinySpec {
            architecture: Architecture::Llama,
            seed: 1,
            n_layers: 2,
            dim: 64,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 16,
            ffn_dim: 96,
            n_vocab: 300,
            context_len: 256,
            rms_eps: 1e-5,
            rope_base: 10_000.0,
            rope_dim: 16,
            rope_scale: 1.0,
            sliding_window: None,
            window_period: 1,
            rope_factors: None,
            output: Output::Separate,
            qkv_biases: false,
            tensor_type: TensorType::F32,
            type_overrides: Vec::new(),
            vocabulary: Vocabulary::ByteBpe,
            chat_template: None,
        }
    }

    /// A Qwen2 of the same size as [`TinyModel::llama`], with tied output.
    pub fn qwen2() -> TinySpec {
        TinySpec {
            architecture: Architecture::Qwen2,
            rms_eps: 1e-6,
            rope_base: 1_000_000.0,
            output: Output::Tied,
            qkv_biases: true,
            ..TinyModel::llama()
        }
    }
}

impl TinyModel {
    /// A Qwen3 of the same size.
    pub fn qwen3() -> TinySpec {
        TinySpec { architecture: Architecture::Qwen3, qkv_biases: false, ..TinyModel::qwen2() }
    }

    /// A Gemma 3 of three layers, of which the middle one has no window.
    pub fn gemma3() -> TinySpec {
        TinySpec {
            architecture: Architecture::Gemma3,
            n_layers: 3,
            sliding_window: Some(6),
            window_period: 2,
            ..TinyModel::qwen3()
        }
    }
}

impl TinySpec {
    /// Whether a layer's attention is limited to the window.
    pub(crate) fn has_window(&self, layer: usize) -> bool {
        self.architecture != Architecture::Gemma3 || layer % self.window_period < self.window_period - 1
    }

    /// Makes dimensions multiples of 256, as the types with super-blocks need, and every matrix of `tensor_type`.
    pub fn with_super_blocks(self, tensor_type: TensorType) -> TinySpec {
        let (n_heads, n_kv_heads, head_dim) = (4, 2, 64);
        TinySpec { dim: 256, n_heads, n_kv_heads, head_dim, rope_dim: head_dim, ffn_dim: 256, tensor_type, ..self }
    }

    /// Draws the weights.
    ///
    /// Panics if the numbers do not fit each other.
    pub fn build(self) -> TinyModel {
        self.check();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let output_shape = [self.n_vocab, self.dim];
        TinyModel {
            token_embd: self.matrix(&mut rng, "token_embd", output_shape),
            layers: (0..self.n_layers).map(|_| self.layer(&mut rng)).collect(),
            output_norm: random_vector(&mut rng, self.dim, 1.0, 0.2),
            output: (self.output == Output::Separate).then(|| self.matrix(&mut rng, "output", output_shape)),
            spec: self,
        }
    }

    fn check(&self) {
        assert!(self.n_heads.is_multiple_of(self.n_kv_heads), "key heads divide query heads");
        assert!(self.rope_dim.is_multiple_of(2) && self.rope_dim <= self.head_dim, "rope_dim is even and fits a head");
        let n_factors = self.rope_factors.as_ref().map_or(self.rope_dim / 2, Vec::len);
        assert_eq!(n_factors, self.rope_dim / 2, "one rope factor for each rotated pair");
        assert!(self.qkv_biases || self.architecture != Architecture::Qwen2, "Qwen2 has biases");
    }

    fn layer(&self, rng: &mut impl Rng) -> TinyLayer {
        let (dim, q_dim, kv_dim) = (self.dim, self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
        TinyLayer {
            attn_norm: random_vector(rng, dim, 1.0, 0.2),
            attn_q: self.matrix(rng, "attn_q", [q_dim, dim]),
            attn_k: self.matrix(rng, "attn_k", [kv_dim, dim]),
            attn_v: self.matrix(rng, "attn_v", [kv_dim, dim]),
            qkv_biases: self.qkv_biases.then(|| [q_dim, kv_dim, kv_dim].map(|len| random_vector(rng, len, 0.0, 0.3))),
            qk_norms: self
                .architecture
                .has_qk_norms()
                .then(|| [(); 2].map(|()| random_vector(rng, self.head_dim, 1.0, 0.2))),
            attn_output: self.matrix(rng, "attn_output", [dim, q_dim]),
            post_norms: self.architecture.has_post_norms().then(|| [(); 2].map(|()| random_vector(rng, dim, 1.0, 0.2))),
            ffn_norm: random_vector(rng, dim, 1.0, 0.2),
            ffn_gate: self.matrix(rng, "ffn_gate", [self.ffn_dim, dim]),
            ffn_up: self.matrix(rng, "ffn_up", [self.ffn_dim, dim]),
            ffn_down: self.matrix(rng, "ffn_down", [dim, self.ffn_dim]),
        }
    }

    fn matrix(&self, rng: &mut impl Rng, name: &str, shape: [usize; 2]) -> Matrix {
        let named = self.type_overrides.iter().find(|(overridden, _)| overridden == name);
        let tensor_type = named.map_or(self.tensor_type, |(_, tensor_type)| *tensor_type);
        Matrix::random(rng, tensor_type, shape, 1.0 / (shape[1] as f64).sqrt())
    }
}
