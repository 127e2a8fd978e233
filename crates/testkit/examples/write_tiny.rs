//! Writes a tiny random model to a GGUF file, and prints its reference logits for given tokens.
//!
//! ```text
//! cargo run -p testkit --example write_tiny -- OUT.gguf llama|qwen2 [KEY=VALUE]... [tokens=IDS]
//! ```
//!
//! The settings are those of `TinySpec::from_line`, such as `type=Q8_0 template=chatml`. `tokens` is a comma-separated list
//! of ids; one line of logits is printed for each.

use testkit::{TinySpec, reference};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, settings @ ..] = args.as_slice() else {
        panic!("usage: write_tiny OUT.gguf llama|qwen2 [KEY=VALUE]... [tokens=IDS]");
    };
    let (tokens, settings): (Vec<&str>, Vec<&str>) =
        settings.iter().map(String::as_str).partition(|setting| setting.starts_with("tokens="));
    let model = TinySpec::from_line(&settings.join(" ")).build();
    std::fs::write(path, model.gguf_bytes()).expect("the file can be written");

    let ids = tokens.iter().flat_map(|tokens| tokens["tokens=".len()..].split(','));
    let ids: Vec<u32> = ids.map(|id| id.parse().expect("a token id is a number")).collect();
    for row in reference::logits(&model, &ids) {
        println!("{}", row.iter().map(|logit| format!("{logit:.9}")).collect::<Vec<_>>().join(" "));
    }
}
