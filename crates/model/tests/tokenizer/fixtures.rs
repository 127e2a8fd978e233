//! Vocabularies: the packed ones of llama.cpp, and small ones built by hand.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use lzma_rust2::XzReader;
use model::gguf::{Array, Gguf, Metadata, StringArray, Value};
use model::{EncodeOptions, TokenId, Tokenizer};

/// Text alone: no BOS or EOS, no special tokens.
pub(crate) const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };

/// As a rendered template is read.
pub(crate) const PARSED: EncodeOptions = EncodeOptions { add_special: false, parse_special: true };

/// The names of llama.cpp's vocabularies.
pub(crate) const NAMES: [&str; 5] = ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"];

static METADATA: [LazyLock<Metadata>; 5] = [
    LazyLock::new(|| unpack(NAMES[0])),
    LazyLock::new(|| unpack(NAMES[1])),
    LazyLock::new(|| unpack(NAMES[2])),
    LazyLock::new(|| unpack(NAMES[3])),
    LazyLock::new(|| unpack(NAMES[4])),
];

static TOKENIZERS: [LazyLock<Tokenizer>; 5] = [
    LazyLock::new(|| build(&METADATA[0])),
    LazyLock::new(|| build(&METADATA[1])),
    LazyLock::new(|| build(&METADATA[2])),
    LazyLock::new(|| build(&METADATA[3])),
    LazyLock::new(|| build(&METADATA[4])),
];

/// The tokenizer of one of llama.cpp's vocabularies, built once a run.
pub(crate) fn tokenizer(name: &str) -> &'static Tokenizer {
    &TOKENIZERS[index(name)]
}

/// The metadata of one of llama.cpp's vocabularies.
pub(crate) fn metadata(name: &str) -> &'static Metadata {
    &METADATA[index(name)]
}

/// A file next to the packed vocabularies.
pub(crate) fn data_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vocabularies").join(name)
}

/// A copy of `metadata` with some keys set to other values.
pub(crate) fn changed(metadata: &Metadata, changes: &[(&str, Value)]) -> Metadata {
    let mut copy = Metadata::default();
    for (key, value) in metadata.iter().filter(|(key, _)| changes.iter().all(|(changed, _)| changed != key)) {
        copy.insert(key.to_owned(), value.clone()).expect("a key once");
    }
    for (key, value) in changes {
        copy.insert((*key).to_owned(), value.clone()).expect("a key once");
    }
    copy
}

/// A copy of `metadata` without `key`.
pub(crate) fn without(metadata: &Metadata, key: &str) -> Metadata {
    let mut copy = Metadata::default();
    for (kept, value) in metadata.iter().filter(|(kept, _)| *kept != key) {
        copy.insert(kept.to_owned(), value.clone()).expect("a key once");
    }
    copy
}

/// A `gpt2` vocabulary with these tokens, their types and merges.
pub(crate) fn byte_level(tokens: &[(&str, i32)], merges: &[&str]) -> Metadata {
    let merges = strings(merges.iter().copied());
    changed(&vocabulary("gpt2", tokens), &[("tokenizer.ggml.merges", merges), ("tokenizer.ggml.pre", text("gpt-2"))])
}

/// A `llama` vocabulary with these tokens and types; the first scores best.
pub(crate) fn sentence_piece(tokens: &[(&str, i32)]) -> Metadata {
    let scores = (0..tokens.len()).map(|i| -(i as f32)).collect();
    changed(&vocabulary("llama", tokens), &[("tokenizer.ggml.scores", Value::Array(Array::F32(scores)))])
}

fn vocabulary(model: &str, tokens: &[(&str, i32)]) -> Metadata {
    let types = tokens.iter().map(|&(_, kind)| kind).collect();
    let entries = [
        ("tokenizer.ggml.model", text(model)),
        ("tokenizer.ggml.tokens", strings(tokens.iter().map(|&(text, _)| text))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types))),
    ];
    changed(&Metadata::default(), &entries)
}

/// A string value.
pub(crate) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// An array of strings.
pub(crate) fn strings<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Value {
    let mut array = StringArray::default();
    texts.into_iter().for_each(|text| array.push(text.as_ref()));
    Value::Array(Array::String(array))
}

/// The tokenizer of `metadata`, which is right.
pub(crate) fn build(metadata: &Metadata) -> Tokenizer {
    Tokenizer::from_metadata(metadata).expect("right metadata")
}

/// Every token's text as the vocabulary spells it.
pub(crate) fn texts(tokenizer: &Tokenizer, ids: &[TokenId]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id).into_owned()).collect()
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|&known| known == name).expect("one of the names")
}

fn unpack(name: &str) -> Metadata {
    let file = std::fs::File::open(data_file(&format!("{name}.gguf.xz"))).expect("the packed vocabulary");
    let mut bytes = Vec::new();
    XzReader::new(std::io::BufReader::new(file), false).read_to_end(&mut bytes).expect("xz");
    Gguf::parse(bytes.as_slice(), bytes.len() as u64).expect("a GGUF header").metadata().clone()
}
