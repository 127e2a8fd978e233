//! Answers four prompts at once: each pass scans the weights once for all of them.
//!
//! `cargo run --release -p engine --example four_prompts MODEL.gguf [BUDGET_MIB]`

use std::ops::ControlFlow;
use std::path::Path;

use engine::{Engine, EngineOptions, Event, GenerateRequest, Limits, ModelFile, SamplingOptions};
use forward::SeqId;
use model::{EncodeOptions, RenderOptions};
use serde_json::json;

const PROMPTS: [&str; 4] =
    ["Name three colours.", "What is the capital of France?", "Count from one to five.", "Say hello in Spanish."];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: four_prompts MODEL.gguf [BUDGET_MIB]")?;
    let memory_budget = args.next().map(|mib| mib.parse::<u64>()).transpose()?.map(|mib| mib << 20);
    let options = EngineOptions { memory_budget, ctx: Some(512), max_sequences: 4, ..EngineOptions::default() };
    let loaded = ModelFile::open(Path::new(&path))?.load(&options)?;
    let template = loaded.chat_template()?.ok_or("the model has no chat template")?;

    let mut engine = Engine::new(loaded, Limits { max_batch: 4, max_queue: 4, cache_pages: 0 });
    for text in PROMPTS {
        let messages = [json!({ "role": "user", "content": text })];
        let rendered = template.render(&RenderOptions::new(&messages))?;
        let prompt =
            engine.loaded.tokenizer.encode(&rendered, EncodeOptions { add_special: false, parse_special: true });
        let sampling = SamplingOptions { temperature: 0.0, ..SamplingOptions::default() };
        let request = GenerateRequest { prompt, max_tokens: Some(60), sampling, ..GenerateRequest::default() };
        engine.submit(request)?;
    }
    while !engine.is_idle() {
        let mut on_event = |id: SeqId, event: Event| {
            if let Event::Token { text, .. } = event {
                eprintln!("{}: {text:?}", id.0);
            }
            ControlFlow::Continue(())
        };
        for finished in engine.step(&mut on_event) {
            println!("{}\n  {}\n", PROMPTS[finished.id.0 as usize], finished.result?.text);
        }
    }
    Ok(())
}
