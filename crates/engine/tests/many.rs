//! Many requests at once on a real forward pass say what each says alone, to the last bit of every probability.

use std::ops::ControlFlow;
use std::path::Path;

use engine::{Engine, EngineOptions, Finished, GenerateRequest, Generation, Limits, LoadedModel, ModelFile};
use kernels::Kernels;
use testkit::{TinySpec, real_model, temp_model};

const MODELS: [&str; 2] =
    ["qwen2 type=Q4_0 type.ffn_down=Q8_0", "llama dim=256 head_dim=64 rope_dim=64 ffn=256 type=Q4_K type.attn_v=Q6_K"];

fn load(path: &Path, kernels: &'static Kernels, max_sequences: usize) -> LoadedModel {
    let options = EngineOptions { ctx: Some(128), threads: 2, kernels, max_sequences, ..EngineOptions::default() };
    ModelFile::open(path).and_then(|file| file.load(&options)).expect("the model loads")
}

/// Prompts of 1 to 71 tokens.
fn requests() -> Vec<GenerateRequest> {
    let request = |i: u32| GenerateRequest {
        prompt: (0..10 * i + 1).map(|t| 40 + (t * (i + 3) + i) % 50).collect(),
        max_tokens: Some(30),
        sampling: engine::SamplingOptions { temperature: 0.0, ..Default::default() },
        logprobs: Some(2),
        ..GenerateRequest::default()
    };
    (0..8).map(request).collect()
}

/// The text, and the bits of every token's probability.
fn signature(generation: &Generation) -> (Vec<u32>, Vec<u32>, &str) {
    let bits = generation.logprobs.iter().map(|step| step.chosen.logprob.to_bits()).collect();
    (generation.tokens.clone(), bits, &generation.text)
}

fn finish(engine: &mut Engine) -> Vec<Finished> {
    let mut finished = Vec::new();
    while !engine.is_idle() {
        finished.extend(engine.step(&mut |_, _| ControlFlow::Continue(())));
    }
    finished.sort_by_key(|finished| finished.id);
    finished
}

#[test]
fn eight_at_once_say_what_each_says_alone() {
    for line in MODELS {
        let path = temp_model(&TinySpec::from_line(line).build().gguf_bytes());
        for &kernels in Kernels::available() {
            check(&path, kernels);
        }
    }
    check(real_model!().as_ref(), Kernels::detect());
}

fn check(path: &Path, kernels: &'static Kernels) {
    let mut engine = Engine::new(load(path, kernels, 8), Limits { max_batch: 8, max_queue: 8, cache_pages: 0 });
    let mut all = |requests: &[GenerateRequest]| {
        for request in requests {
            engine.submit(request.clone()).expect("the queue has room");
        }
        finish(&mut engine)
    };
    let together = all(&requests());
    for (i, request) in requests().into_iter().enumerate() {
        let alone = all(&[request]).remove(0).result.expect("it fits the context");
        let together = together[i].result.as_ref().expect("it fits the context");
        assert_eq!(signature(together), signature(&alone), "{}, {kernels:?}: request {i}", path.display());
    }
    let kv = engine.loaded.model.kv();
    assert_eq!(kv.n_free_pages(), kv.n_pages());
}

#[test]
fn a_thousand_random_steps_leave_no_page_behind() {
    let path = temp_model(&TinySpec::from_line(MODELS[0]).build().gguf_bytes());
    let loaded = load(&path, Kernels::detect(), 3);
    let mut engine = Engine::new(loaded, Limits { max_batch: 3, max_queue: 8, cache_pages: 2 });
    let mut state = 5u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % n
    };
    let (mut ids, mut n_ended) = (Vec::new(), 0);
    for _ in 0..1000 {
        match random(8) {
            0 => {
                let request = requests().swap_remove(random(8) as usize);
                ids.extend(engine.submit(request));
            }
            1 if !ids.is_empty() => engine.cancel(ids[random(ids.len() as u64) as usize]),
            _ => n_ended += engine.step(&mut |_, _| ControlFlow::Continue(())).len(),
        }
    }
    n_ended += finish(&mut engine).len();
    assert_eq!(n_ended, ids.len());
    engine.clear_cache();
    let kv = engine.loaded.model.kv();
    assert_eq!(kv.n_free_pages(), kv.n_pages());
}

/// A prompt whose beginning is known has the bits that it has without.
#[test]
fn what_is_cached_changes_no_bit() {
    for line in MODELS {
        let path = temp_model(&TinySpec::from_line(line).build().gguf_bytes());
        for &kernels in Kernels::available() {
            let mut loaded = load(&path, kernels, 1);
            let n_pages = loaded.model.kv().n_pages();
            let mut engine = Engine::new(loaded, Limits { max_batch: 1, max_queue: 1, cache_pages: n_pages });
            for request in requests() {
                let mut ask = || engine.run(&request, &mut |_| ControlFlow::Continue(())).unwrap();
                let (first, again) = (ask(), ask());
                assert_eq!(first.cached_tokens, 0);
                assert!(again.cached_tokens >= 8 || request.prompt.len() <= 8, "{}", again.cached_tokens);
                assert_eq!(
                    signature(&first),
                    signature(&again),
                    "{line}, {}, {}",
                    kernels.name(),
                    request.prompt.len()
                );
                engine.clear_cache();
            }
        }
    }
}
