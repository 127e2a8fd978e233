//! What structured output costs: preparing a vocabulary, compiling a schema, and decoding with it against decoding
//! without, in turn.
//!
//! `cargo run --release -p engine --example structured_speed MODEL.gguf`

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::{
    Engine, EngineOptions, FinishReason, GenerateRequest, Generation, Grammar, GrammarCompiler, Limits, ModelFile,
    SamplingOptions,
};
use model::EncodeOptions;
use serde_json::json;

/// Tokens that are timed, and how often.
const N_TOKENS: usize = 128;
const ROUNDS: usize = 9;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let path = std::env::args().nth(1).ok_or("usage: structured_speed MODEL.gguf")?;
    let options = EngineOptions { ctx: Some(2048), ..EngineOptions::default() };
    let loaded = ModelFile::open(Path::new(&path))?.load(&options)?;

    let before = resident_bytes();
    let start = Instant::now();
    let compiler = GrammarCompiler::new(&loaded.tokenizer)?;
    println!(
        "vocabulary of {} tokens prepared in {:.0} ms, {} MiB",
        loaded.tokenizer.vocab_len(),
        milliseconds(start.elapsed()),
        (resident_bytes() - before) >> 20
    );
    // A list that is longer than what is timed.
    let person = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "tags": { "type": "array", "items": { "enum": ["old", "new", "blue"] }, "maxItems": 3 },
        },
        "required": ["name", "age", "tags"],
    });
    let grammar = Grammar::JsonSchema(json!({ "type": "array", "items": person, "minItems": 100 }));
    let mut engine = Engine::new(loaded, Limits { max_batch: 1, max_queue: 1, cache_pages: 0 });
    for temperature in [0.0, 0.8] {
        compare(&mut engine, &compiler, &grammar, temperature)?;
    }
    Ok(())
}

/// Decodes with and without a grammar in turn.
fn compare(
    engine: &mut Engine,
    compiler: &GrammarCompiler,
    grammar: &Grammar,
    temperature: f32,
) -> Result<(), AnyError> {
    let prompt = "1, 2, 3, 4, 5, 6, 7, 8,";
    let prompt = engine.loaded.tokenizer.encode(prompt, EncodeOptions { add_special: true, parse_special: false });
    let (mut plain, mut bound, mut compiling) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..ROUNDS as u64 {
        let sampling = SamplingOptions { temperature, seed: Some(seed), ..SamplingOptions::default() };
        let request =
            GenerateRequest { prompt: prompt.clone(), max_tokens: Some(N_TOKENS), sampling, ..Default::default() };
        // Counting has no end; a text that ends all the same is left out.
        let generation = generate(engine, request.clone())?;
        if generation.finish_reason == FinishReason::Length {
            plain.push(generation.timings.tokens_per_second());
        }
        let start = Instant::now();
        let constraint = compiler.compile(grammar)?;
        compiling.push(milliseconds(start.elapsed()));
        let generation = generate(engine, GenerateRequest { constraint: Some(constraint), ..request })?;
        if generation.finish_reason == FinishReason::Length {
            bound.push(generation.timings.tokens_per_second());
        }
    }
    println!(
        "temperature {temperature}: {:.2} tokens/s without ({} runs), {:.2} with a schema ({}), {:+.1}%; compiled in {:.1} ms",
        median(&mut plain),
        plain.len(),
        median(&mut bound),
        bound.len(),
        100.0 * (median(&mut bound) / median(&mut plain) - 1.0),
        median(&mut compiling)
    );
    Ok(())
}

fn generate(engine: &mut Engine, request: GenerateRequest) -> Result<Generation, AnyError> {
    Ok(engine.run(&request, &mut |_| ControlFlow::Continue(()))?)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Memory of this process, 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}
