//! `info`: shows what a model file contains, from its header alone.

use std::collections::BTreeMap;
use std::fmt::Write;

use engine::EngineError;
use model::gguf::{Array, Gguf, Value};
use model::{Mixer, ModelSpec};
use serde_json::json;

use crate::flags::InfoArgs;
use crate::{output, size};

/// Longer values are truncated in the table.
const MAX_SHOWN: usize = 60;

/// Prints a table or a JSON object.
pub(crate) fn run(args: &InfoArgs) -> anyhow::Result<()> {
    let in_file = |source| EngineError::Model { path: args.model.display().to_string(), source };
    let gguf = Gguf::open(&args.model).map_err(in_file)?;
    let spec = ModelSpec::from_gguf(&gguf);
    if args.json {
        output::print(&format!("{}\n", as_json(&gguf, spec.as_ref().ok())))?;
    } else {
        output::print(&as_table(args, &gguf, spec.as_ref().ok()))?;
    }
    if let Err(reason) = spec {
        output::say(&format!("warning: this model cannot be run: {reason}"));
    }
    Ok(())
}

/// The tensors of a type together.
#[derive(Clone, Copy, Default)]
struct Share {
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

fn shares(gguf: &Gguf) -> BTreeMap<&'static str, Share> {
    let mut shares = BTreeMap::<_, Share>::new();
    for tensor in gguf.tensors() {
        let share = shares.entry(tensor.quant.format().name).or_default();
        share.tensors += 1;
        share.parameters += tensor.shape.iter().product::<u64>();
        share.bytes += tensor.len;
    }
    shares
}

fn as_table(args: &InfoArgs, gguf: &Gguf, spec: Option<&ModelSpec>) -> String {
    let mut table = String::new();
    let mut row = |name: &str, value: String| {
        writeln!(table, "{name:<16} {value}").expect("a string takes any text");
    };
    row("file", format!("{} ({}, GGUF version {})", args.model.display(), size::show(gguf.file_len()), gguf.version()));
    if let Some(spec) = spec {
        describe(spec, &mut row);
    }
    let metadata = gguf.metadata();
    for (name, key) in [("license", "general.license"), ("tokenizer", "tokenizer.ggml.model")] {
        if let Some(Value::String(text)) = metadata.get(key) {
            row(name, text.clone());
        }
    }
    row("chat template", if metadata.get("tokenizer.chat_template").is_some() { "yes" } else { "no" }.to_owned());
    table.push('\n');
    writeln!(table, "{:<10} {:>8} {:>14} {:>12} {:>12}", "type", "tensors", "parameters", "size", "bits/weight")
        .expect("a string takes any text");
    for (name, share) in shares(gguf) {
        let bits = 8.0 * share.bytes as f64 / share.parameters.max(1) as f64;
        writeln!(
            table,
            "{name:<10} {:>8} {:>14} {:>12} {bits:>12.2}",
            share.tensors,
            millions(share.parameters),
            size::show(share.bytes)
        )
        .expect("a string takes any text");
    }
    table.push('\n');
    for (key, value) in metadata.iter() {
        writeln!(table, "{key:<44} {}", shown(value)).expect("a string takes any text");
    }
    table
}

fn describe(spec: &ModelSpec, row: &mut impl FnMut(&str, String)) {
    row("model", spec.name.clone());
    row("architecture", spec.architecture.to_owned());
    row("parameters", millions(spec.n_parameters()));
    row("context", format!("{} tokens", spec.context_length));
    row("vocabulary", format!("{} tokens", spec.n_vocab));
    row("layers", format!("{} of width {}", spec.layers.len(), spec.dim));
    for mixer in spec.layers.first().iter().flat_map(|layer| layer.mixers()) {
        match mixer {
            Mixer::Attention(a) => {
                row("attention", format!("{} heads, {} KV heads, {} wide", a.n_heads, a.n_kv_heads, a.head_dim));
                if let Some(rope) = &a.rope {
                    row("rope", format!("base {}, {} of {} dimensions", rope.base, rope.dims, a.head_dim));
                }
            }
            Mixer::Dense(f) => row("feed-forward", format!("{} wide", f.up.weight.rows)),
        }
    }
    let tied = if spec.output.weight == spec.embedding { "tied to the embedding" } else { "separate" };
    row("output head", tied.to_owned());
}

fn as_json(gguf: &Gguf, spec: Option<&ModelSpec>) -> serde_json::Value {
    let metadata: serde_json::Map<_, _> = gguf.metadata().iter().map(|(k, v)| (k.to_owned(), value_json(v))).collect();
    let tensors: Vec<_> = gguf
        .tensors()
        .iter()
        .map(|t| {
            json!({ "name": t.name, "type": t.quant.format().name, "shape": t.shape, "offset": t.offset, "bytes": t.len })
        })
        .collect();
    let types: serde_json::Map<_, _> = shares(gguf)
        .into_iter()
        .map(|(name, s)| {
            (name.to_owned(), json!({ "tensors": s.tensors, "parameters": s.parameters, "bytes": s.bytes }))
        })
        .collect();
    json!({
        "version": gguf.version(),
        "file_bytes": gguf.file_len(),
        "architecture": spec.map(|s| s.architecture),
        "name": spec.map(|s| s.name.clone()),
        "parameters": spec.map(ModelSpec::n_parameters),
        "layers": spec.map(|s| s.layers.len()),
        "context_length": spec.map(|s| s.context_length),
        "embedding_length": spec.map(|s| s.dim),
        "vocabulary": spec.map(|s| s.n_vocab),
        "runnable": spec.is_some(),
        "types": types,
        "metadata": metadata,
        "tensors": tensors,
    })
}

/// Arrays, which may hold a whole vocabulary, are shown by type and length.
fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(v),
        Value::Array(v) => json!({ "array": element_name(v), "length": v.len() }),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(array) => format!("[{} {}]", array.len(), element_name(array)),
        Value::String(text) => {
            let line = text.escape_debug().to_string();
            match line.char_indices().nth(MAX_SHOWN) {
                Some((end, _)) => format!("{}… ({} characters)", &line[..end], text.chars().count()),
                None => line,
            }
        }
        other => value_json(other).to_string(),
    }
}

fn element_name(array: &Array) -> &'static str {
    match array {
        Array::U8(_) => "u8",
        Array::I8(_) => "i8",
        Array::U16(_) => "u16",
        Array::I16(_) => "i16",
        Array::U32(_) => "u32",
        Array::I32(_) => "i32",
        Array::U64(_) => "u64",
        Array::I64(_) => "i64",
        Array::F32(_) => "f32",
        Array::F64(_) => "f64",
        Array::Bool(_) => "bool",
        Array::String(_) => "strings",
        Array::Array(_) => "arrays",
    }
}

fn millions(parameters: u64) -> String {
    match parameters {
        p if p >= 10_000_000_000 => format!("{:.1} B", p as f64 / 1e9),
        p if p >= 1_000_000_000 => format!("{:.2} B", p as f64 / 1e9),
        p if p >= 1_000_000 => format!("{:.1} M", p as f64 / 1e6),
        p => format!("{:.1} K", p as f64 / 1e3),
    }
}
