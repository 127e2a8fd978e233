//! Small GGUF files that between them take every path of the reader.
//!
//! They are made from code, so that the corpus cannot fall behind the format and needs no binary files.

use testkit::{GgufValue, GgufWriter, ggml_type};

/// A tensor type's number, block length and block bytes.
type Block = (u32, u64, usize);

const BLOCKS: &[Block] = &[
    (ggml_type::F32, 1, 4),
    (ggml_type::F16, 1, 2),
    (ggml_type::BF16, 1, 2),
    (ggml_type::Q4_0, 32, 18),
    (ggml_type::Q4_1, 32, 20),
    (ggml_type::Q5_0, 32, 22),
    (ggml_type::Q5_1, 32, 24),
    (ggml_type::Q8_0, 32, 34),
    (ggml_type::Q4_K, 256, 144),
    (ggml_type::Q5_K, 256, 176),
    (ggml_type::Q6_K, 256, 210),
];

/// The seeds, right files first.
pub(crate) fn gguf_seeds() -> Vec<Vec<u8>> {
    let right = [empty(2), empty(3), values(), nested(), tokenizer(), tensors(32), tensors(4096), shapes()];
    let wrong = [
        small().kv("split.count", 3u16),
        small().kv("split.no", 1u16).kv("split.count", 3u16),
        small().kv("general.alignment", 24u32),
        small().version(3u32.swap_bytes()),
        small().claim_kv_count(u64::MAX),
        small().claim_tensor_count(u64::MAX),
        small().tensor("t", &[256], 23, [0; 136]),
        small().tensor("t", &[1 << 32, 1 << 32], ggml_type::F32, []),
        small().tensor("a", &[1], ggml_type::F32, [0; 4]),
        small().kv("k", GgufValue::Raw(9, [8u32.to_le_bytes(), [0xff; 4], [0xff; 4]].concat())),
    ];
    let files = right.iter().chain(&wrong).map(GgufWriter::to_bytes);
    files.chain([Vec::new(), b"<!DOCTYPE html>".to_vec(), b"PK\x03\x04".to_vec()]).collect()
}

fn empty(version: u32) -> GgufWriter {
    GgufWriter::new().version(version)
}

fn small() -> GgufWriter {
    GgufWriter::new().kv("general.architecture", "llama").tensor("a", &[4], ggml_type::F32, [0; 16])
}

/// A value of every type, and an array of each.
macro_rules! values {
    ($($name:literal: $value:expr),*) => {
        GgufWriter::new()$(.kv($name, $value).kv(concat!($name, "s"), vec![$value, $value]))*
    };
}

fn values() -> GgufWriter {
    values! {
        "u8": 1u8, "i8": -1i8, "u16": 2u16, "i16": -2i16, "u32": 3u32, "i32": -3i32, "u64": 4u64, "i64": -4i64,
        "f32": 0.5f32, "f64": 0.25f64, "bool": true, "string": "text"
    }
}

fn nested() -> GgufWriter {
    GgufWriter::new().kv("two", vec![vec![1u8], vec![]]).kv("four", vec![vec![vec![vec!["deep"]]]])
}

fn tokenizer() -> GgufWriter {
    let tokens: Vec<_> = (0..300).map(|i| format!("t{i}")).collect();
    GgufWriter::new()
        .alignment(64)
        .kv("tokenizer.ggml.model", "gpt2")
        .kv("tokenizer.ggml.tokens", tokens)
        .kv("tokenizer.ggml.scores", vec![0.0f32; 300])
        .kv("tokenizer.chat_template", "{{ messages }}")
}

/// One tensor of every type.
fn tensors(alignment: u32) -> GgufWriter {
    BLOCKS.iter().fold(GgufWriter::new().alignment(alignment), |writer, &(type_id, block_len, block_bytes)| {
        writer.tensor(&format!("blk.{type_id}.weight"), &[block_len, 2], type_id, vec![0; 2 * block_bytes])
    })
}

fn shapes() -> GgufWriter {
    [&[3][..], &[3, 2], &[3, 2, 2], &[3, 2, 2, 2]].into_iter().fold(GgufWriter::new(), |writer, dims| {
        let n_bytes = 4 * dims.iter().product::<u64>() as usize;
        writer.tensor(&format!("{}d", dims.len()), dims, ggml_type::F32, vec![0; n_bytes])
    })
}
