//! Whatever the schema and whatever the model, what is said is valid: random schemas, a random model and a real one, at
//! temperature 1, by a validator that has nothing to do with the engine.

use std::path::Path;

use engine::{FinishReason, GenerateRequest, Grammar, SamplingOptions};
use testkit::{TinySpec, real_model, temp_model};

use crate::random_schema::random_schema;
use crate::support::{Judge, assert_valid, load, run_all};

fn check(path: &Path, seeds: std::ops::Range<u64>, ctx: usize) {
    let judge = Judge::of_file(path);
    let request = |seed: u64| GenerateRequest {
        prompt: judge.tokenizer.encode("An answer in JSON: ", model::EncodeOptions::default()),
        sampling: SamplingOptions {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            seed: Some(seed),
            ..SamplingOptions::default()
        },
        constraint: Some(judge.compile(&Grammar::JsonSchema(random_schema(seed)))),
        ..GenerateRequest::default()
    };
    let finished = run_all(&mut load(path, ctx), seeds.clone().map(request).collect());
    for (seed, finished) in seeds.zip(finished) {
        let generation = finished.result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(generation.finish_reason, FinishReason::Stop, "seed {seed}: {}", generation.text);
        assert_valid(&random_schema(seed), &generation.text, &format!("seed {seed}"));
    }
}

#[test]
fn two_hundred_schemas_on_a_random_model() {
    for (vocabulary, seeds) in [("bpe", 0..100), ("spm", 100..200)] {
        let line = format!("llama context=2048 vocabulary={vocabulary}");
        check(&temp_model(&TinySpec::from_line(&line).build().gguf_bytes()), seeds, 2048);
    }
}

#[test]
fn schemas_on_the_real_model() {
    check(real_model!().as_ref(), 200..216, 1024);
}
