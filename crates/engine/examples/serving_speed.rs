//! What sharing passes gives on this machine: how fast 1, 2, 4 and 8 requests decode together, how long streams wait for
//! their next token while a prompt of 2,000 tokens is prefilled, and how soon the same prompt begins to be answered when
//! it comes again.
//!
//! `cargo run --release -p engine --example serving_speed MODEL.gguf [BUDGET_MIB [READ_MIB_A_SECOND]]`

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use engine::{Engine, EngineOptions, Event, GenerateRequest, Limits, ModelFile, SamplingOptions};
use forward::{PAGE_TOKENS, SeqId};

const PROMPT_TOKENS: usize = 2000;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: serving_speed MODEL.gguf [BUDGET_MIB [READ_MIB_A_SECOND]]")?;
    let mut mib = || args.next().map(|mib| mib.parse::<u64>().map(|mib| mib << 20)).transpose();
    let (memory_budget, max_read_rate) = (mib()?, mib()?);
    let options =
        EngineOptions { memory_budget, max_read_rate, ctx: Some(3072), max_sequences: 8, ..EngineOptions::default() };
    let loaded = ModelFile::open(Path::new(&path))?.load(&options)?;
    let plan = &loaded.plan;
    println!("weights {} MiB, streamed a pass {} MiB", plan.weights_bytes >> 20, plan.streamed_bytes_per_pass >> 20);

    let cache_pages = PROMPT_TOKENS.div_ceil(PAGE_TOKENS) + 2;
    let mut engine = Engine::new(loaded, Limits { max_batch: 8, max_queue: 8, cache_pages });

    let mut one = 0.0;
    for n in [1, 2, 4, 8] {
        let (rate, bytes) = decode_together(&mut engine, n)?;
        one = if n == 1 { rate } else { one };
        println!("{n} together: {rate:.2} tokens/s, {:.2} times one; {} MiB read a pass", rate / one, bytes >> 20);
    }
    for n in [1, 3] {
        let [alone, beside] = time_between_tokens(&mut engine, n)?;
        println!(
            "{n} stream(s): {:.1} ms between tokens (median), {:.1} ms while a prompt is prefilled, {:.2} times; worst {:.1} ms",
            alone[0],
            beside[0],
            beside[0] / alone[0],
            beside[1]
        );
    }
    let [first, again] = first_token_twice(&mut engine)?;
    println!("first token of the prompt: {first:.0} ms, again {again:.0} ms, {:.3} of it", again / first);
    Ok(())
}

fn request(salt: usize, n_prompt: usize, max_tokens: usize) -> GenerateRequest {
    let prompt = (0..n_prompt).map(|i| (1000 + (i * 37 + salt * 101) % 900) as u32).collect();
    let sampling = SamplingOptions { temperature: 0.0, ..SamplingOptions::default() };
    GenerateRequest { prompt, max_tokens: Some(max_tokens), sampling, ..GenerateRequest::default() }
}

/// Runs to the end, with the time of each token of each request.
fn run(engine: &mut Engine, mut hear: impl FnMut(SeqId, bool)) -> Result<(), AnyError> {
    while !engine.is_idle() {
        let mut on_event = |id, event: Event| {
            hear(id, matches!(event, Event::Token { .. }));
            ControlFlow::Continue(())
        };
        for finished in engine.step(&mut on_event) {
            finished.result?;
        }
    }
    Ok(())
}

/// Tokens a second of `n` requests together, and bytes read a pass, once all decode.
fn decode_together(engine: &mut Engine, n: usize) -> Result<(f64, u64), AnyError> {
    engine.clear_cache();
    for i in 0..n {
        engine.submit(request(i, 12, 40))?;
    }
    let (mut n_tokens, mut n_passes, mut start, mut before) = (0, 0, None, 0);
    while !engine.is_idle() {
        let all_decode = engine.load().decoding == n;
        if all_decode && start.is_none() {
            (start, before) = (Some(Instant::now()), engine.loaded.model.read_stats().bytes_read);
        }
        let mut count = |_, event: Event| {
            n_tokens += usize::from(start.is_some() && matches!(event, Event::Token { .. }));
            ControlFlow::Continue(())
        };
        let finished = engine.step(&mut count);
        n_passes += u64::from(start.is_some());
        if let (false, Some(start)) = (finished.is_empty(), start) {
            let read = engine.loaded.model.read_stats().bytes_read - before;
            let rate = f64::from(n_tokens as u32) / start.elapsed().as_secs_f64();
            run(engine, |_, _| {})?;
            return Ok((rate, read / n_passes));
        }
    }
    Err("the requests ended before all of them decoded".into())
}

/// Milliseconds between the tokens of `n` streams, alone and while a long prompt is prefilled: median and most.
fn time_between_tokens(engine: &mut Engine, n: usize) -> Result<[[f64; 2]; 2], AnyError> {
    engine.clear_cache();
    let mut ids = Vec::new();
    for i in 0..n {
        ids.push(engine.submit(request(i, 12, 900))?);
    }
    let mut gaps = [Vec::new(), Vec::new()];
    let (mut long, mut last, mut is_prefilled) = (None, Instant::now(), false);
    while gaps[0].len() < 20 || !is_prefilled {
        if gaps[0].len() == 20 && long.is_none() {
            long = Some(engine.submit(request(n, PROMPT_TOKENS, 4))?);
        }
        let mut hear = |id, event: Event| {
            is_prefilled |= Some(id) == long && matches!(event, Event::Token { .. });
            ControlFlow::Continue(())
        };
        let all_decode = engine.load().decoding >= n;
        engine.step(&mut hear);
        if all_decode {
            gaps[usize::from(long.is_some())].push(last.elapsed().as_secs_f64() * 1e3);
        }
        last = Instant::now();
        if engine.load().decoding == 0 && engine.is_idle() {
            return Err("the streams ended before the prompt was prefilled".into());
        }
    }
    ids.into_iter().chain(long).for_each(|id| engine.cancel(id));
    run(engine, |_, _| {})?;
    Ok(gaps.map(|mut gaps| {
        gaps.sort_by(f64::total_cmp);
        [gaps[gaps.len() / 2], gaps[gaps.len() - 1]]
    }))
}

/// Milliseconds from a long prompt to its first token, twice.
fn first_token_twice(engine: &mut Engine) -> Result<[f64; 2], AnyError> {
    engine.clear_cache();
    let mut once = || {
        engine.submit(request(9, PROMPT_TOKENS, 3))?;
        let (start, mut first) = (Instant::now(), None);
        run(engine, |_, is_token| {
            if is_token {
                first.get_or_insert_with(|| start.elapsed());
            }
        })?;
        Ok::<_, AnyError>(first.ok_or("no token")?.as_secs_f64() * 1e3)
    };
    Ok([once()?, once()?])
}
