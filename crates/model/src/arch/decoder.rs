//! Reads a decoder-only transformer with RMSNorm, RoPE, grouped-query attention and a gated feed-forward step.

use kernels::{Activation, RopeLayout};

use super::keys::Keys;
use super::tensors::{Bias, Tensors};
use crate::error::ModelError;
use crate::gguf::container::Gguf;
use crate::spec::{Attention, Branch, Dense, Layer, Linear, Mixer, ModelSpec, Norm, Pooling, Residual, Rope};

/// More layers than any model has; bounds the work that a hostile file can ask for.
const MAX_LAYERS: usize = 4096;

/// Llama 1's base, which files from before the key existed mean by leaving it out.
const DEFAULT_ROPE_BASE: f32 = 10_000.0;

/// What distinguishes one decoder architecture from another.
pub(super) struct Arch {
    /// `general.architecture`, also the prefix of its keys.
    pub(super) name: &'static str,
    /// How its query and key rows pair up under RoPE.
    pub(super) rope_layout: RopeLayout,
    /// Whether query, key and value have biases.
    pub(super) qkv_bias: Bias,
    /// Whether the heads of queries and keys are normalised.
    pub(super) has_qk_norms: bool,
    /// Whether each step is normalised before it is added.
    pub(super) has_post_norms: bool,
    /// Of the feed-forward step's gate.
    pub(super) activation: Activation,
    /// Whether embeddings are multiplied by the square root of their width.
    pub(super) scales_embeddings: bool,
    /// With this many layers, scores are scaled by the root of `dim / n_heads` instead of that of the head's width.
    pub(super) n_layers_scaled_by_dim: usize,
    /// Whether windows are for some layers only.
    pub(super) local_layers: Option<LocalLayers>,
}

/// Layers of which most have a window and a rotation for it.
#[derive(Clone, Copy)]
pub(super) struct LocalLayers {
    /// The last of this many layers has no window, where the file does not say it.
    pub(super) period: usize,
    /// Base of the others' rotation, where the file does not say it.
    pub(super) rope_base: f32,
}

/// What an architecture's row leaves out.
pub(super) const DECODER: Arch = Arch {
    name: "",
    rope_layout: RopeLayout::Halves,
    qkv_bias: Bias::Optional,
    has_qk_norms: false,
    has_post_norms: false,
    activation: Activation::Silu,
    scales_embeddings: false,
    n_layers_scaled_by_dim: 0,
    local_layers: None,
};

/// What the layers of a file have in common.
struct Shared {
    dim: usize,
    n_heads: Vec<usize>,
    n_kv_heads: Vec<usize>,
    ffn: Vec<usize>,
    head_dim: Option<usize>,
    value_dim: Option<usize>,
    norm_eps: f32,
    window: Option<usize>,
    rope: Rope,
    /// How many layers one without a window is the last of, and the rotation of the others, where windows are for some.
    local: Option<(usize, Rope)>,
}

impl Shared {
    fn norm(&self, tensors: &Tensors, name: &str, len: usize) -> Result<Norm, ModelError> {
        Ok(Norm { weight: tensors.vector(name, len)?, eps: self.norm_eps })
    }
}

/// Makes the description of a file's model; see `ModelSpec::from_gguf`.
pub(super) fn describe(arch: &Arch, gguf: &Gguf) -> Result<ModelSpec, ModelError> {
    let keys = Keys::new(arch.name, gguf);
    let tensors = Tensors::new(arch.name, gguf);
    refuse_experts(&keys)?;

    let n_layers = keys.required("block_count")?;
    if n_layers > MAX_LAYERS {
        return Err(keys.wrong("block_count", &format!("is {n_layers}, more than {MAX_LAYERS}")));
    }
    let shared = shared(arch, &keys, &tensors, n_layers)?;
    let dim = shared.dim;
    let n_vocab = tensors.rows("token_embd.weight")?;
    let embedding = tensors.matrix("token_embd.weight", n_vocab, dim)?;
    let layers = (0..n_layers).map(|i| layer(arch, &keys, &tensors, &shared, i)).collect::<Result<Vec<_>, _>>()?;
    let output_norm = shared.norm(&tensors, "output_norm.weight", dim)?;
    let output = if tensors.has("output.weight") { tensors.matrix("output.weight", n_vocab, dim)? } else { embedding };
    let context_length = keys.required("context_length")?;
    let pooling = pooling(&keys)?;
    keys.finish()?;
    tensors.finish()?;

    let name = gguf.metadata().string("general.name")?.filter(|n| !n.is_empty()).unwrap_or(arch.name).to_owned();
    Ok(ModelSpec {
        architecture: arch.name,
        name,
        tensors: gguf.tensors().to_vec(),
        dim,
        n_vocab,
        context_length,
        pooling,
        embedding,
        embedding_scale: if arch.scales_embeddings { (dim as f32).sqrt() } else { 1.0 },
        layers,
        output_norm,
        output: Linear { weight: output, bias: None },
        logit_scale: 1.0,
        logit_soft_cap: None,
    })
}

/// The numbers are those of llama.cpp's `pooling_type`.
fn pooling(keys: &Keys) -> Result<Option<Pooling>, ModelError> {
    match keys.count("pooling_type")? {
        0 => Ok(None),
        1 => Ok(Some(Pooling::Mean)),
        2 => Ok(Some(Pooling::First)),
        3 => Ok(Some(Pooling::Last)),
        n => Err(keys.wrong("pooling_type", &format!("is {n}: only none, mean, first and last are supported"))),
    }
}

fn refuse_experts(keys: &Keys) -> Result<(), ModelError> {
    match keys.count("expert_count")? {
        0 => Ok(()),
        n => Err(keys.wrong("expert_count", &format!("is {n}: mixture-of-experts models are not supported"))),
    }
}

fn shared(arch: &Arch, keys: &Keys, tensors: &Tensors, n_layers: usize) -> Result<Shared, ModelError> {
    let required = |name: &str| -> Result<Vec<usize>, ModelError> {
        keys.per_layer(name, n_layers)?.ok_or_else(|| keys.wrong(name, "is missing"))
    };
    let dim = keys.required("embedding_length")?;
    let n_heads = required("attention.head_count")?;
    let n_kv_heads = keys.per_layer("attention.head_count_kv", n_layers)?.unwrap_or_else(|| n_heads.clone());
    let head_dim = keys.optional("attention.key_length")?;
    let norm_eps = keys
        .positive("attention.layer_norm_rms_epsilon")?
        .ok_or_else(|| keys.wrong("attention.layer_norm_rms_epsilon", "is missing"))?;
    // Some files say 0 where there is none.
    let window = match keys.count("attention.sliding_window")? {
        0 => None,
        len => usize::try_from(len).ok(),
    };
    let narrowest = n_heads.iter().map(|n| head_dim.unwrap_or(dim / n)).min().expect("block_count is at least 1");
    let rope = rope(arch, keys, tensors, narrowest)?;
    let local = match arch.local_layers {
        Some(LocalLayers { period, rope_base }) => {
            let base = keys.positive("rope.freq_base_swa")?.unwrap_or(rope_base);
            let period = keys.optional("attention.sliding_window_pattern")?.unwrap_or(period);
            Some((period, Rope { base, linear_scale: 1.0, factors: None, ..rope }))
        }
        None => None,
    };
    Ok(Shared {
        dim,
        ffn: required("feed_forward_length")?,
        head_dim,
        value_dim: keys.optional("attention.value_length")?,
        norm_eps,
        window,
        rope,
        local,
        n_heads,
        n_kv_heads,
    })
}

fn layer(arch: &Arch, keys: &Keys, tensors: &Tensors, shared: &Shared, i: usize) -> Result<Layer, ModelError> {
    let norm = |stem: &str| shared.norm(tensors, &format!("blk.{i}.{stem}.weight"), shared.dim).map(Some);
    let step = |stem: &str, post_stem: &str, mixer| {
        let post_norm = if arch.has_post_norms { norm(post_stem)? } else { None };
        Ok(Residual { branches: vec![Branch { norm: norm(stem)?, mixer, post_norm }], scale: 1.0 })
    };
    let attention = Mixer::Attention(attention(arch, keys, tensors, shared, i)?);
    let dense = Mixer::Dense(dense(arch, tensors, shared, i)?);
    let residuals =
        vec![step("attn_norm", "post_attention_norm", attention)?, step("ffn_norm", "post_ffw_norm", dense)?];
    Ok(Layer { residuals })
}

fn attention(arch: &Arch, keys: &Keys, tensors: &Tensors, shared: &Shared, i: usize) -> Result<Attention, ModelError> {
    let (dim, n_heads, n_kv_heads) = (shared.dim, shared.n_heads[i], shared.n_kv_heads[i]);
    if n_heads % n_kv_heads != 0 {
        let problem = format!("is {n_kv_heads} in layer {i}, which does not divide its {n_heads} query heads");
        return Err(keys.wrong("attention.head_count_kv", &problem));
    }
    if shared.head_dim.is_none() && dim % n_heads != 0 {
        let problem = format!("is {n_heads} in layer {i}, which does not divide the embedding length {dim}");
        return Err(keys.wrong("attention.head_count", &problem));
    }
    let head_dim = shared.head_dim.unwrap_or(dim / n_heads);
    let value_dim = shared.value_dim.unwrap_or(head_dim);
    let linear = |stem: &str, rows, cols, bias| tensors.linear(&format!("blk.{i}.{stem}"), rows, cols, bias);
    let norm = |stem: &str| match arch.has_qk_norms {
        true => shared.norm(tensors, &format!("blk.{i}.{stem}.weight"), head_dim).map(Some),
        false => Ok(None),
    };
    let scaled_by = if shared.n_heads.len() == arch.n_layers_scaled_by_dim { dim / n_heads } else { head_dim };
    let (window, rope) = match shared.local {
        Some((period, _)) if i % period == period - 1 => (None, shared.rope),
        Some((_, rope)) => (shared.window, rope),
        None => (shared.window, shared.rope),
    };
    Ok(Attention {
        query: linear("attn_q", n_heads * head_dim, dim, arch.qkv_bias)?,
        key: linear("attn_k", n_kv_heads * head_dim, dim, arch.qkv_bias)?,
        value: linear("attn_v", n_kv_heads * value_dim, dim, arch.qkv_bias)?,
        output: linear("attn_output", dim, n_heads * value_dim, Bias::Optional)?,
        query_norm: norm("attn_q_norm")?,
        key_norm: norm("attn_k_norm")?,
        n_heads,
        n_kv_heads,
        head_dim,
        value_dim,
        rope: Some(rope),
        window,
        scale: 1.0 / (scaled_by as f32).sqrt(),
        soft_cap: None,
    })
}

fn dense(arch: &Arch, tensors: &Tensors, shared: &Shared, i: usize) -> Result<Dense, ModelError> {
    let (dim, ffn) = (shared.dim, shared.ffn[i]);
    let linear = |stem: &str, rows, cols| tensors.linear(&format!("blk.{i}.{stem}"), rows, cols, Bias::Optional);
    Ok(Dense {
        gate: linear("ffn_gate", ffn, dim)?,
        up: linear("ffn_up", ffn, dim)?,
        down: linear("ffn_down", dim, ffn)?,
        activation: arch.activation,
    })
}

fn rope(arch: &Arch, keys: &Keys, tensors: &Tensors, head_dim: usize) -> Result<Rope, ModelError> {
    let dims = keys.optional("rope.dimension_count")?.unwrap_or(head_dim);
    if dims > head_dim || dims % 2 != 0 {
        let problem = format!("is {dims}, which is odd or more than the head's {head_dim}");
        return Err(keys.wrong("rope.dimension_count", &problem));
    }
    // The factors of Llama 3.1 are stored for every layer's use at once.
    let factors = match tensors.has("rope_freqs.weight") {
        true => Some(tensors.vector("rope_freqs.weight", dims / 2)?),
        false => None,
    };
    Ok(Rope {
        layout: arch.rope_layout,
        dims,
        base: keys.positive("rope.freq_base")?.unwrap_or(DEFAULT_ROPE_BASE),
        linear_scale: linear_scale(keys)?,
        factors,
    })
}

/// Positions are divided by this. `rope.scale_linear` is the key's name in older files.
fn linear_scale(keys: &Keys) -> Result<f32, ModelError> {
    let factor = keys.positive("rope.scaling.factor")?;
    let old = keys.positive("rope.scale_linear")?;
    match keys.string("rope.scaling.type")? {
        Some("none") => Ok(1.0),
        None | Some("linear") => Ok(factor.or(old).unwrap_or(1.0)),
        Some(other) => Err(keys.wrong(
            "rope.scaling.type",
            &format!("is {other:?}, which is not supported; this version knows none and linear"),
        )),
    }
}
