//! Many requests at once: scheduling, the prompt cache, context shifts, pooling, failures.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use forward::{KvOps, SeqId};
use model::{Pooling, TokenId};

use super::fake::{CTX, LIMITS, answer, engine, next, prompt, request, run, submit_all};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::request::{Event, FinishReason, GenerateRequest, Overflow};
use crate::scheduler::{Limits, Load};

#[test]
fn many_at_once_say_what_each_says_alone() {
    let (mut engine, fake) = engine(40, LIMITS);
    let requests: Vec<_> = (0..9).map(|i| request(prompt(i, 20 * i as usize, 5, i), 10 + 3 * i as usize)).collect();
    submit_all(&mut engine, &requests);
    assert_eq!(engine.load(), Load { queued: 9, prefilling: 0, decoding: 0 });
    let finished = run(&mut engine);
    assert_eq!(finished.len(), 9);
    for (request, finished) in requests.iter().zip(&finished) {
        let generation = finished.result.as_ref().unwrap();
        assert_eq!((&generation.tokens, generation.finish_reason), (&answer(request), FinishReason::Length));
    }
    engine.clear_cache();
    assert_eq!(fake.left(), (40, 0));
}

#[test]
fn a_prompt_is_computed_once() {
    let (mut engine, fake) = engine(40, LIMITS);
    let work = |engine: &mut Engine, request: &GenerateRequest| {
        fake.state().passes.clear();
        engine.submit(request.clone()).unwrap();
        let generation = run(engine).pop().unwrap().result.unwrap();
        assert_eq!(generation.tokens, answer(request));
        (generation.cached_tokens, fake.state().passes.iter().sum::<usize>())
    };
    let first = request(prompt(1, 200, 10, 1), 5);
    assert_eq!(work(&mut engine, &first), (0, 210 + 4));
    // The same again, another end, and what was generated as part of the prompt.
    assert_eq!(work(&mut engine, &first), (209, 1 + 4));
    assert_eq!(work(&mut engine, &request(prompt(1, 200, 30, 2), 1)), (200, 30));
    let longer = [&first.prompt[..], &answer(&first)[..4], &[50, 51]].concat();
    assert_eq!(work(&mut engine, &request(longer, 1)), (214, 2));
    assert_eq!((engine.cache_stats().hits, engine.cache_stats().saved_tokens), (3, 209 + 200 + 214));
}

#[test]
fn requests_that_begin_alike_wait_for_the_first() {
    let (mut engine, _) = engine(40, LIMITS);
    let requests: Vec<_> = (0..4).map(|i| request(prompt(1, 200, 10, i), 5)).collect();
    submit_all(&mut engine, &requests);
    let finished = run(&mut engine);
    let cached: Vec<_> = finished.iter().map(|f| f.result.as_ref().unwrap().cached_tokens).collect();
    assert_eq!(cached, [0, 200, 200, 200]);
    for (request, finished) in requests.iter().zip(&finished) {
        assert_eq!(finished.result.as_ref().unwrap().tokens, answer(request));
    }
}

#[test]
fn what_needs_more_pages_than_there_are_waits_or_is_refused() {
    let (mut engine, _) = engine(4, LIMITS);
    let too_long = engine.submit(request(prompt(0, 256, 0, 0), 1));
    assert!(matches!(too_long, Err(EngineError::PromptTooLong { prompt: 256, ctx: 256 })));
    let requests: Vec<_> = (0..5).map(|i| request(prompt(i * 3, 100, 0, 0), 60)).collect();
    submit_all(&mut engine, &requests);
    engine.step(&mut |_, _| ControlFlow::Continue(()));
    assert_eq!(engine.load(), Load { queued: 4, prefilling: 0, decoding: 1 });
    for (request, finished) in requests.iter().zip(run(&mut engine)) {
        assert_eq!(finished.result.unwrap().tokens, answer(request));
    }
    let (mut full, _) = super::fake::engine(4, Limits { max_queue: 1, ..LIMITS });
    full.submit(requests[0].clone()).unwrap();
    assert!(matches!(full.submit(requests[0].clone()), Err(EngineError::QueueFull { max: 1 })));
}

/// It ends as cancelled, with the next step, and neither takes a place nor is heard of otherwise.
#[test]
fn a_request_that_is_cancelled_while_it_waits_never_runs() {
    let (mut engine, fake) = engine(40, Limits { max_batch: 1, ..LIMITS });
    let requests: Vec<_> = (0..3).map(|i| request(prompt(i * 3, 100, 0, 0), 60)).collect();
    submit_all(&mut engine, &requests);
    engine.step(&mut |_, _| ControlFlow::Continue(()));
    engine.cancel(SeqId(1));
    let (mut heard, n_passes) = (Vec::new(), fake.state().passes.len());
    let finished = engine.step(&mut |id, _| {
        heard.push(id);
        ControlFlow::Continue(())
    });
    assert!(heard.iter().all(|id| *id == SeqId(0)));
    assert_eq!((finished.len(), finished[0].id), (1, SeqId(1)));
    let generation = finished[0].result.as_ref().unwrap();
    assert_eq!((generation.finish_reason, generation.prompt_tokens), (FinishReason::Cancelled, 100));
    assert_eq!((generation.tokens.len(), generation.timings.prefill), (0, std::time::Duration::ZERO));
    assert_eq!((generation.prefill_reads.bytes_read, generation.decode_reads.bytes_read), (0, 0));
    assert_eq!(fake.state().passes[n_passes..], [1]);
    assert_eq!(engine.load(), Load { queued: 1, prefilling: 0, decoding: 1 });
    let rest: Vec<u64> = run(&mut engine).iter().map(|finished| finished.id.0).collect();
    assert_eq!(rest, [0, 2]);
}

#[test]
fn a_failed_pass_ends_those_that_shared_it() {
    let (mut engine, fake) = engine(40, Limits { max_batch: 2, ..LIMITS });
    fake.state().failing = Some(6);
    let requests: Vec<_> = (0..4).map(|i| request(prompt(i * 3, 10, 10, i), 20)).collect();
    submit_all(&mut engine, &requests);
    let finished = run(&mut engine);
    let failed: Vec<_> = finished.iter().map(|finished| finished.result.is_err()).collect();
    assert_eq!(failed, [true, true, false, false]);
    assert_eq!(finished[3].result.as_ref().unwrap().tokens, answer(&requests[3]));
    engine.clear_cache();
    assert_eq!(fake.state().sequences.n_free_pages(), 40);
}

/// Streams go on in every pass while a long prompt prefills, and so does the prompt.
#[test]
fn a_long_prompt_and_streams_share_passes() {
    let (mut engine, _) = engine(40, LIMITS);
    engine.submit(request(prompt(1, 5, 0, 0), 290)).unwrap();
    for _ in 0..3 {
        engine.step(&mut |_, _| ControlFlow::Continue(()));
    }
    let long = engine.submit(request(prompt(9, 250, 0, 0), 2)).unwrap();
    let (mut n_tokens, mut n_passes, mut is_done) = (0, 0, false);
    while !is_done {
        engine.step(&mut |id, event| {
            match event {
                Event::Prefill { done, total } => is_done |= id == long && done == total,
                _ => n_tokens += usize::from(id != long),
            }
            ControlFlow::Continue(())
        });
        n_passes += 1;
    }
    assert_eq!(n_tokens, n_passes);
}

/// The tokens of an answer that goes on when the context is full.
fn shifted_answer(request: &GenerateRequest, n: usize) -> Vec<TokenId> {
    let (mut tokens, mut answer) = (request.prompt.clone(), Vec::new());
    while answer.len() < n {
        request.overflow.make_room(&mut tokens, CTX);
        tokens.push(next(&tokens));
        answer.push(tokens[tokens.len() - 1]);
    }
    answer
}

#[test]
fn a_full_context_goes_on_without_its_oldest_tokens() {
    let (mut engine, fake) = engine(14, LIMITS);
    let shift = |request| GenerateRequest { overflow: Overflow::Shift { n_keep: 4 }, ..request };
    // One that begins with more than the context, one that comes to it, and one beside them.
    let long = shift(request(prompt(1, 700, 3, 1), 40));
    let growing = shift(request(prompt(5, 250, 3, 2), 900));
    let other = request(prompt(8, 20, 3, 3), 50);
    submit_all(&mut engine, &[long.clone(), growing.clone(), other.clone()]);
    let finished = run(&mut engine);
    let tokens: Vec<_> = finished.iter().map(|finished| &finished.result.as_ref().unwrap().tokens[..]).collect();
    assert_eq!(tokens, [&shifted_answer(&long, 40)[..], &shifted_answer(&growing, 900)[..], &answer(&other)[..]]);
    engine.clear_cache();
    assert_eq!(fake.left(), (14, 0));
}

#[test]
fn hidden_states_are_pooled_over_all_passes_of_a_prompt() {
    let (mut engine, _) = engine(40, LIMITS);
    let embed = |pooling| GenerateRequest { pooling: Some(pooling), ..request(prompt(1, 250, 10, 1), 5) };
    for pooling in [Pooling::Mean, Pooling::Last, Pooling::First, Pooling::Mean] {
        let text = request(prompt(2, 100, 10, 1), 5);
        submit_all(&mut engine, &[text.clone(), embed(pooling)]);
        let finished = run(&mut engine);
        let generation = finished[1].result.as_ref().unwrap();
        assert_eq!((generation.tokens.len(), generation.finish_reason), (0, FinishReason::Stop));
        let prompt = embed(pooling).prompt;
        let sum = |tokens: &[TokenId]| tokens.iter().sum::<u32>() as f32;
        let n = generation.hidden[1] as usize;
        match pooling {
            Pooling::Mean => assert_eq!(generation.hidden, [sum(&prompt) / 260.0, 1.0]),
            Pooling::Last => assert_eq!(generation.hidden[0], sum(&prompt[260 - n..])),
            Pooling::First => assert_eq!(generation.hidden[0], sum(&prompt[..n])),
        }
        assert_eq!(finished[0].result.as_ref().unwrap().tokens, answer(&text));
    }
}

/// Whatever is submitted, cancelled and finished: every text is right, and no page stays behind.
#[test]
fn ten_thousand_random_steps() {
    let mut state = 11u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % n
    };
    let (mut engine, fake) = engine(14, Limits { max_batch: 4, max_queue: 8, cache_pages: 6 });
    let mut asked: BTreeMap<SeqId, GenerateRequest> = BTreeMap::new();
    let (mut n_whole, mut n_cancelled, mut n_failed) = (0, 0, 0);
    for _ in 0..10_000 {
        match random(10) {
            0..3 => {
                let (family, common, own) = (random(3) as u32, random(200) as usize, random(60) as usize + 1);
                let request = request(prompt(family, common, own, random(9) as u32), random(30) as usize);
                if let Ok(id) = engine.submit(request.clone()) {
                    asked.insert(id, request);
                }
            }
            3 => {
                let ids: Vec<_> = asked.keys().copied().collect();
                if !ids.is_empty() {
                    engine.cancel(ids[random(ids.len() as u64) as usize]);
                }
            }
            _ => {
                fake.fail_next(random(200) == 0);
                for finished in engine.step(&mut |_, _| match random(300) {
                    0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }) {
                    let request = asked.remove(&finished.id).expect("a request ends once");
                    let Ok(generation) = finished.result else {
                        n_failed += 1;
                        continue;
                    };
                    let answer = answer(&request);
                    match generation.finish_reason {
                        FinishReason::Length => assert_eq!(generation.tokens, answer),
                        FinishReason::Cancelled => assert_eq!(generation.tokens, answer[..generation.tokens.len()]),
                        FinishReason::Stop => panic!("the model never ends"),
                    }
                    n_whole += usize::from(generation.finish_reason == FinishReason::Length);
                    n_cancelled += usize::from(generation.finish_reason == FinishReason::Cancelled);
                }
            }
        }
        let load = engine.load();
        assert_eq!(load.queued + load.prefilling + load.decoding, asked.len());
    }
    assert!(n_whole > 300 && n_cancelled > 100 && n_failed > 5, "{n_whole} {n_cancelled} {n_failed}");
    assert!(engine.cache_stats().hits > 100);
    asked.into_keys().for_each(|id| engine.cancel(id));
    run(&mut engine);
    engine.clear_cache();
    assert_eq!(fake.left(), (14, 0));
}
