//! Reads a decoder-only transformer with RMSNorm, RoPE, grouped-query attention and a gated feed-forward step.

use super::keys::Keys;
use super::tensors::Tensors;
use super::{Arch, Bias};
use crate::ModelError;
use crate::gguf::Gguf;
use crate::spec::{Attention, Dense, FeedForward, Layer, ModelSpec, Pooling, Rope};

/// More layers than any model has; bounds the work that a hostile file can ask for.
const MAX_LAYERS: usize = 4096;

/// Llama 1's base, which files from before the key existed mean by leaving it out.
const DEFAULT_ROPE_BASE: f32 = 10_000.0;

/// Sizes that all layers share.
struct Sizes {
    dim: usize,
    n_heads: Vec<usize>,
    n_kv_heads: Vec<usize>,
    ffn: Vec<usize>,
    head_dim: Option<usize>,
    value_dim: Option<usize>,
}

/// Makes the description of a file's model; see `ModelSpec::from_gguf`.
pub(super) fn describe(arch: &Arch, gguf: &Gguf) -> Result<ModelSpec, ModelError> {
    let keys = Keys::new(arch, gguf);
    let tensors = Tensors::new(arch, gguf);
    refuse_experts(&keys)?;

    let n_layers = keys.required("block_count")?;
    if n_layers > MAX_LAYERS {
        return Err(keys.wrong("block_count", &format!("is {n_layers}, more than {MAX_LAYERS}")));
    }
    let sizes = sizes(&keys, n_layers)?;
    let dim = sizes.dim;
    let norm_eps = keys
        .positive("attention.layer_norm_rms_epsilon")?
        .ok_or_else(|| keys.wrong("attention.layer_norm_rms_epsilon", "is missing"))?;

    let n_vocab = tensors.rows("token_embd.weight")?;
    let embedding = tensors.matrix("token_embd.weight", n_vocab, dim)?;
    let layers = (0..n_layers).map(|i| layer(arch, &keys, &tensors, &sizes, i)).collect::<Result<Vec<_>, _>>()?;
    let output_norm = tensors.vector("output_norm.weight", dim)?;
    let output = if tensors.has("output.weight") { tensors.matrix("output.weight", n_vocab, dim)? } else { embedding };
    let rope = rope(arch, &keys, &tensors, &layers)?;
    let context_length = keys.required("context_length")?;
    // Some files say 0 where there is none.
    let sliding_window = match keys.count("attention.sliding_window")? {
        0 => None,
        len => usize::try_from(len).ok(),
    };
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
        sliding_window,
        pooling,
        norm_eps,
        rope,
        embedding,
        layers,
        output_norm,
        output,
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

fn sizes(keys: &Keys, n_layers: usize) -> Result<Sizes, ModelError> {
    let required = |name: &str| -> Result<Vec<usize>, ModelError> {
        keys.per_layer(name, n_layers)?.ok_or_else(|| keys.wrong(name, "is missing"))
    };
    let n_heads = required("attention.head_count")?;
    let n_kv_heads = keys.per_layer("attention.head_count_kv", n_layers)?.unwrap_or_else(|| n_heads.clone());
    Ok(Sizes {
        dim: keys.required("embedding_length")?,
        n_heads,
        n_kv_heads,
        ffn: required("feed_forward_length")?,
        head_dim: keys.optional("attention.key_length")?,
        value_dim: keys.optional("attention.value_length")?,
    })
}

fn layer(arch: &Arch, keys: &Keys, tensors: &Tensors, sizes: &Sizes, i: usize) -> Result<Layer, ModelError> {
    let (dim, n_heads, n_kv_heads, ffn) = (sizes.dim, sizes.n_heads[i], sizes.n_kv_heads[i], sizes.ffn[i]);
    if n_heads % n_kv_heads != 0 {
        let problem = format!("is {n_kv_heads} in layer {i}, which does not divide its {n_heads} query heads");
        return Err(keys.wrong("attention.head_count_kv", &problem));
    }
    if sizes.head_dim.is_none() && dim % n_heads != 0 {
        let problem = format!("is {n_heads} in layer {i}, which does not divide the embedding length {dim}");
        return Err(keys.wrong("attention.head_count", &problem));
    }
    let head_dim = sizes.head_dim.unwrap_or(dim / n_heads);
    let value_dim = sizes.value_dim.unwrap_or(head_dim);
    let linear = |stem: &str, rows, cols, bias| tensors.linear(&format!("blk.{i}.{stem}"), rows, cols, bias);
    Ok(Layer {
        attention_norm: tensors.vector(&format!("blk.{i}.attn_norm.weight"), dim)?,
        attention: Attention {
            query: linear("attn_q", n_heads * head_dim, dim, arch.qkv_bias)?,
            key: linear("attn_k", n_kv_heads * head_dim, dim, arch.qkv_bias)?,
            value: linear("attn_v", n_kv_heads * value_dim, dim, arch.qkv_bias)?,
            output: linear("attn_output", dim, n_heads * value_dim, Bias::Optional)?,
            n_heads,
            n_kv_heads,
            head_dim,
            value_dim,
        },
        feed_forward_norm: tensors.vector(&format!("blk.{i}.ffn_norm.weight"), dim)?,
        feed_forward: FeedForward::Dense(Dense {
            gate: linear("ffn_gate", ffn, dim, Bias::Optional)?,
            up: linear("ffn_up", ffn, dim, Bias::Optional)?,
            down: linear("ffn_down", dim, ffn, Bias::Optional)?,
        }),
    })
}

fn rope(arch: &Arch, keys: &Keys, tensors: &Tensors, layers: &[Layer]) -> Result<Rope, ModelError> {
    let head_dim = layers.iter().map(|l| l.attention.head_dim).min().expect("block_count is at least 1");
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
