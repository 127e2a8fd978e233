//! `info` shows what is in a file from its header alone, however big the rest is.

use std::time::Instant;

use testkit::{GgufWriter, ggml_type, real_model};

use crate::support::{call, text_of};

#[test]
fn the_table_tells_what_people_look_for() {
    let text = call(&["info", &real_model!()]).text();
    // Architecture, vocabulary, context, layers, the types of the weights, the tokenizer.
    for word in ["llama", "49152", "8192", "30", "Q4_1", "Q8_0", "gpt2", "135"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    assert!(text.lines().count() > 10, "{text}");
    assert!(!text.contains("<|im_start|>system\nYou are"), "metadata of several lines does not break the table");
}

#[test]
fn json_is_one_object() {
    let answer = call(&["info", &real_model!(), "--json"]).json();
    assert_eq!(answer["architecture"], "llama");
    assert_eq!(answer["metadata"]["llama.block_count"], 30);
    assert!(answer["types"].get("Q4_1").is_some(), "{answer}");
}

/// A Llama of 104 GB with 256,000 tokens, whose weights are a hole in the file.
fn giant() -> GgufWriter {
    const VOCAB: u64 = 256_000;
    const DIM: u64 = 8192;
    const KV_DIM: u64 = 1024;
    const FFN_DIM: u64 = 28_672;
    const N_LAYERS: u32 = 56;
    let tokens: Vec<String> = (0..VOCAB).map(|id| format!("token{id}")).collect();
    let merges: Vec<String> = (0..VOCAB).map(|id| format!("to ken{id}")).collect();
    let mut file = GgufWriter::new()
        .kv("general.architecture", "llama")
        .kv("general.name", "Giant")
        .kv("llama.block_count", N_LAYERS)
        .kv("llama.context_length", 8192u32)
        .kv("llama.embedding_length", DIM as u32)
        .kv("llama.feed_forward_length", FFN_DIM as u32)
        .kv("llama.attention.head_count", 64u32)
        .kv("llama.attention.head_count_kv", 8u32)
        .kv("llama.attention.layer_norm_rms_epsilon", 1e-5f32)
        .kv("llama.rope.dimension_count", 128u32)
        .kv("llama.vocab_size", VOCAB as u32)
        .kv("tokenizer.ggml.model", "gpt2")
        .kv("tokenizer.ggml.pre", "default")
        .kv("tokenizer.ggml.token_type", vec![1i32; VOCAB as usize])
        .kv("tokenizer.ggml.tokens", tokens)
        .kv("tokenizer.ggml.merges", merges);
    let matrix = |file: GgufWriter, name: &str, cols: u64, rows: u64| {
        file.tensor_hole(name, &[cols, rows], ggml_type::F16, 2 * cols * rows)
    };
    let norm = |file: GgufWriter, name: &str| file.tensor_hole(name, &[DIM], ggml_type::F32, 4 * DIM);
    file = matrix(file, "token_embd.weight", DIM, VOCAB);
    for layer in 0..N_LAYERS {
        file = norm(file, &format!("blk.{layer}.attn_norm.weight"));
        file = norm(file, &format!("blk.{layer}.ffn_norm.weight"));
        for (part, cols, rows) in [
            ("attn_q", DIM, DIM),
            ("attn_k", DIM, KV_DIM),
            ("attn_v", DIM, KV_DIM),
            ("attn_output", DIM, DIM),
            ("ffn_gate", DIM, FFN_DIM),
            ("ffn_up", DIM, FFN_DIM),
            ("ffn_down", FFN_DIM, DIM),
        ] {
            file = matrix(file, &format!("blk.{layer}.{part}.weight"), cols, rows);
        }
    }
    matrix(norm(file, "output_norm.weight"), "output.weight", DIM, VOCAB)
}

#[test]
fn a_file_of_a_hundred_gigabytes_opens() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("giant.gguf");
    giant().write(&path).expect("the folder for temporary files has sparse files");
    assert!(path.metadata().expect("the file is there").len() > 100_000_000_000);

    let begin = Instant::now();
    let text = call(&["info", text_of(&path)]).text();
    println!("info on a sparse file of 104 GB with 256,000 tokens: {:?}", begin.elapsed());
    assert!(text.contains("256000") && text.contains("F16"), "{text}");
    assert_eq!(call(&["info", text_of(&path), "--json"]).json()["metadata"]["general.name"], "Giant");

    // It cannot run within 64 MiB, and that shows before anything of the 104 GB is read.
    let error = call(&["run", text_of(&path), "-p", "hello", "--memory-budget", "64M"]).refused(1);
    assert!(error.contains("64"), "{error}");
}
