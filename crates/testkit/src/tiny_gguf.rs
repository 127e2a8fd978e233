//! Writes a [`TinyModel`] as the GGUF file that a converter would make of it.

use crate::gguf_value::ggml_type;
use crate::gguf_writer::GgufWriter;
use crate::random_matrix::Matrix;
use crate::tiny_model::{Architecture, TinyLayer, TinyModel, TinySpec};

impl TinyModel {
    /// The model as a complete GGUF file.
    pub fn gguf_bytes(&self) -> Vec<u8> {
        self.gguf().to_bytes()
    }

    /// The model as a GGUF file that a test can still add to.
    pub fn gguf(&self) -> GgufWriter {
        let mut file = tensor(metadata(&self.spec), "token_embd.weight", &self.token_embd);
        if let Some(factors) = &self.spec.rope_factors {
            let factors: Vec<f64> = factors.iter().copied().map(f64::from).collect();
            file = vector(file, "rope_freqs.weight", &factors);
        }
        for (i, layer) in self.layers.iter().enumerate() {
            file = layer_tensors(file, i, layer);
        }
        file = vector(file, "output_norm.weight", &self.output_norm);
        match &self.output {
            Some(output) => tensor(file, "output.weight", output),
            None => file,
        }
    }
}

fn metadata(spec: &TinySpec) -> GgufWriter {
    let arch = spec.architecture.name();
    let key = |name: &str| format!("{arch}.{name}");
    let mut file = GgufWriter::new()
        .kv("general.architecture", arch)
        .kv("general.name", format!("Tiny {arch}"))
        .kv("general.file_type", spec.tensor_type.file_type())
        .kv(&key("block_count"), count(spec.n_layers))
        .kv(&key("context_length"), count(spec.context_len))
        .kv(&key("embedding_length"), count(spec.dim))
        .kv(&key("feed_forward_length"), count(spec.ffn_dim))
        .kv(&key("attention.head_count"), count(spec.n_heads))
        .kv(&key("attention.head_count_kv"), count(spec.n_kv_heads))
        .kv(&key("attention.layer_norm_rms_epsilon"), spec.rms_eps)
        .kv(&key("rope.freq_base"), spec.rope_base)
        .kv(&key("rope.dimension_count"), count(spec.rope_dim))
        .kv(&key("vocab_size"), count(spec.n_vocab));
    if spec.head_dim * spec.n_heads != spec.dim {
        file = file
            .kv(&key("attention.key_length"), count(spec.head_dim))
            .kv(&key("attention.value_length"), count(spec.head_dim));
    }
    if let Some(len) = spec.sliding_window {
        file = file.kv(&key("attention.sliding_window"), count(len));
    }
    if spec.architecture == Architecture::Gemma3 {
        file = file.kv(&key("attention.sliding_window_pattern"), count(spec.window_period));
    }
    if spec.rope_scale != 1.0 {
        file = file.kv(&key("rope.scaling.type"), "linear").kv(&key("rope.scaling.factor"), spec.rope_scale);
    }
    file = spec.vocabulary.describe(file, spec.n_vocab);
    match &spec.chat_template {
        Some(template) => file.kv("tokenizer.chat_template", template.as_str()),
        None => file,
    }
}

fn layer_tensors(mut file: GgufWriter, index: usize, layer: &TinyLayer) -> GgufWriter {
    let name = |part: &str| format!("blk.{index}.{part}");
    file = vector(file, &name("attn_norm.weight"), &layer.attn_norm);
    file = tensor(file, &name("attn_q.weight"), &layer.attn_q);
    file = tensor(file, &name("attn_k.weight"), &layer.attn_k);
    file = tensor(file, &name("attn_v.weight"), &layer.attn_v);
    for (bias, part) in layer.qkv_biases.iter().flatten().zip(["attn_q.bias", "attn_k.bias", "attn_v.bias"]) {
        file = vector(file, &name(part), bias);
    }
    for (norm, part) in layer.qk_norms.iter().flatten().zip(["attn_q_norm.weight", "attn_k_norm.weight"]) {
        file = vector(file, &name(part), norm);
    }
    file = tensor(file, &name("attn_output.weight"), &layer.attn_output);
    for (norm, part) in layer.post_norms.iter().flatten().zip(["post_attention_norm.weight", "post_ffw_norm.weight"]) {
        file = vector(file, &name(part), norm);
    }
    file = vector(file, &name("ffn_norm.weight"), &layer.ffn_norm);
    file = tensor(file, &name("ffn_gate.weight"), &layer.ffn_gate);
    file = tensor(file, &name("ffn_up.weight"), &layer.ffn_up);
    tensor(file, &name("ffn_down.weight"), &layer.ffn_down)
}

/// Adds a matrix; GGUF names the row length first.
fn tensor(file: GgufWriter, name: &str, matrix: &Matrix) -> GgufWriter {
    let dims = [matrix.cols as u64, matrix.rows as u64];
    file.tensor(name, &dims, matrix.tensor_type.ggml_id(), matrix.bytes.as_slice())
}

/// Adds a vector, which files keep in F32; the values were drawn as f32.
fn vector(file: GgufWriter, name: &str, values: &[f64]) -> GgufWriter {
    let bytes: Vec<u8> = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    file.tensor(name, &[values.len() as u64], ggml_type::F32, bytes)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("a tiny model has tiny numbers")
}
