//! The scheduler on a model that has no weights: the next token is a function of all tokens before it, which it keeps as
//! a KV cache keeps keys and values. So a wrong page, position or token shows up as another text.

use std::collections::BTreeMap;

use forward::Sequences;
use model::gguf::Gguf;
use store::ReadStats;
use testkit::{TinySpec, temp_model};

use super::*;
use crate::SamplingOptions;
use crate::request::Overflow;

const CTX: usize = 300;
const N_VOCAB: usize = 64;
const PAGE_BYTES: usize = 4 * PAGE_TOKENS;

/// A model and the KV cache that it thinks it has.
struct Fake {
    sequences: Sequences,
    /// What each sequence's pages would hold.
    tokens: BTreeMap<SeqId, Vec<TokenId>>,
    max_rows: usize,
    /// Rows of each pass.
    passes: Vec<usize>,
    /// Fails this pass.
    failing: Option<usize>,
    page: Vec<u8>,
}

impl Fake {
    fn new(n_pages: usize) -> Fake {
        let sequences = Sequences::new(CTX, n_pages);
        Fake { sequences, tokens: BTreeMap::new(), max_rows: 128, passes: Vec::new(), failing: None, page: Vec::new() }
    }
}

/// The token after these.
fn next(tokens: &[TokenId]) -> TokenId {
    let hash = tokens.iter().fold(1u32, |hash, token| (hash ^ token).wrapping_mul(0x0100_0193).rotate_left(7));
    40 + hash % 20
}

impl LanguageModel for Fake {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, ForwardError> {
        assert!(batch.n_rows() <= self.max_rows);
        self.sequences.admit(batch)?;
        self.passes.push(batch.n_rows());
        if self.failing == Some(self.passes.len()) {
            self.sequences.abandon(batch);
            return Err(ForwardError::Malformed);
        }
        let (mut logits, mut pooled) = (Vec::new(), Vec::new());
        for segment in &batch.segments {
            let tokens = self.tokens.entry(segment.seq).or_default();
            assert_eq!(tokens.len(), segment.start);
            tokens.extend(&segment.tokens);
            if let LogitRows::Pooled(_) = segment.logits {
                pooled.push(vec![segment.tokens.iter().sum::<u32>() as f32, segment.tokens.len() as f32]);
            }
            if segment.logits == LogitRows::Last {
                let best = next(tokens) as usize;
                logits.extend((0..N_VOCAB).map(|token| if token == best { 1.0 } else { 0.0 }));
            }
        }
        self.sequences.commit(batch);
        Ok(Logits::new(logits.into(), N_VOCAB).with_pooled(pooled))
    }

    fn accept(&mut self, _: SeqId, _: &[usize]) -> Result<(), ForwardError> {
        unreachable!("no request drafts")
    }

    fn kv(&mut self) -> &mut dyn KvOps {
        self
    }

    fn page_bytes(&self) -> usize {
        PAGE_BYTES
    }

    /// A page holds its tokens, and something behind the last.
    fn page(&mut self, seq: SeqId, index: usize) -> Option<&[u8]> {
        let tokens = self.tokens.get(&seq)?.chunks(PAGE_TOKENS).nth(index)?;
        self.page = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        self.page.resize(PAGE_BYTES, 0xAA);
        Some(&self.page)
    }

    fn insert(
        &mut self,
        seq: SeqId,
        len: usize,
        fill: &mut dyn FnMut(usize, &mut [u8]) -> bool,
    ) -> Result<bool, ForwardError> {
        self.sequences.insert(seq, len)?;
        let mut tokens = Vec::new();
        for i in 0..len.div_ceil(PAGE_TOKENS) {
            let mut page = vec![0; PAGE_BYTES];
            if !fill(i, &mut page) {
                self.sequences.remove(seq);
                return Ok(false);
            }
            tokens.extend(page.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
        }
        tokens.truncate(len);
        self.tokens.insert(seq, tokens);
        Ok(true)
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn read_stats(&self) -> ReadStats {
        ReadStats::default()
    }
}

impl KvOps for Fake {
    fn len(&self, seq: SeqId) -> usize {
        self.sequences.len(seq)
    }

    fn truncate(&mut self, seq: SeqId, len: usize) {
        self.sequences.truncate(seq, len);
        self.tokens.entry(seq).or_default().truncate(len);
    }

    fn remove(&mut self, seq: SeqId) {
        self.sequences.remove(seq);
        self.tokens.remove(&seq);
    }

    fn fork(&mut self, seq: SeqId, copy: SeqId, len: usize) -> Result<(), ForwardError> {
        self.sequences.fork(seq, copy, len)?;
        let tokens = self.tokens[&seq][..len].to_vec();
        self.tokens.insert(copy, tokens);
        Ok(())
    }

    fn context(&self) -> usize {
        CTX
    }

    fn n_pages(&self) -> usize {
        self.sequences.n_pages()
    }

    fn n_free_pages(&self) -> usize {
        self.sequences.n_free_pages()
    }

    fn pages_for(&self, len: usize) -> usize {
        self.sequences.pages_for(len)
    }

    fn n_new_pages(&self, seq: SeqId, n: usize) -> usize {
        self.sequences.n_new_pages(seq, n)
    }
}

fn tokenizer() -> Tokenizer {
    let path = temp_model(&TinySpec::from_line("llama").build().gguf_bytes());
    Tokenizer::from_metadata(Gguf::open(&path).unwrap().metadata()).unwrap()
}

fn request(prompt: Vec<TokenId>, max_tokens: usize) -> GenerateRequest {
    let sampling = SamplingOptions { temperature: 0.0, ..SamplingOptions::default() };
    GenerateRequest { prompt, max_tokens: Some(max_tokens), sampling, ..GenerateRequest::default() }
}

/// A prompt that begins like others with the same `family`.
fn prompt(family: u32, common: usize, own: usize, salt: u32) -> Vec<TokenId> {
    let family = (0..common as u32).map(move |i| 40 + (i * 7 + family) % 20);
    family.chain((0..own as u32).map(|i| 40 + (i * 3 + salt) % 20)).collect()
}

/// The tokens that a request must get.
fn answer(request: &GenerateRequest) -> Vec<TokenId> {
    let mut tokens = request.prompt.clone();
    let end = request.max_len(CTX);
    while tokens.len() < end {
        tokens.push(next(&tokens));
    }
    tokens.split_off(request.prompt.len())
}

fn run(scheduler: &mut Scheduler, fake: &mut Fake, tokenizer: &Tokenizer) -> Vec<Finished> {
    let mut all = Vec::new();
    while !scheduler.is_idle() {
        all.extend(scheduler.step(fake, tokenizer, &mut |_, _| ControlFlow::Continue(())));
    }
    all.sort_by_key(|finished| finished.id);
    all
}

fn submit_all(scheduler: &mut Scheduler, fake: &mut Fake, requests: &[GenerateRequest]) {
    for request in requests {
        scheduler.submit(fake, request.clone()).unwrap();
    }
}

const LIMITS: Limits = Limits { max_batch: 4, max_queue: 100, cache_pages: 10 };

#[test]
fn many_at_once_say_what_each_says_alone() {
    let tokenizer = tokenizer();
    let mut fake = Fake::new(40);
    let mut scheduler = Scheduler::new(LIMITS);
    let requests: Vec<_> = (0..9).map(|i| request(prompt(i, 20 * i as usize, 5, i), 10 + 3 * i as usize)).collect();
    submit_all(&mut scheduler, &mut fake, &requests);
    assert_eq!(scheduler.load(), Load { queued: 9, prefilling: 0, decoding: 0 });
    let finished = run(&mut scheduler, &mut fake, &tokenizer);
    assert_eq!(finished.len(), 9);
    for (request, finished) in requests.iter().zip(&finished) {
        let generation = finished.result.as_ref().unwrap();
        assert_eq!((&generation.tokens, generation.finish_reason), (&answer(request), FinishReason::Length));
    }
    scheduler.clear_cache(&mut fake);
    assert_eq!((fake.n_free_pages(), fake.tokens.len()), (40, 0));
}

#[test]
fn a_prompt_is_computed_once() {
    let tokenizer = tokenizer();
    let mut fake = Fake::new(40);
    let mut scheduler = Scheduler::new(LIMITS);
    let work = |scheduler: &mut Scheduler, fake: &mut Fake, request: &GenerateRequest| {
        fake.passes.clear();
        scheduler.submit(fake, request.clone()).unwrap();
        let generation = run(scheduler, fake, &tokenizer).pop().unwrap().result.unwrap();
        assert_eq!(generation.tokens, answer(request));
        (generation.cached_tokens, fake.passes.iter().sum::<usize>())
    };
    let first = request(prompt(1, 200, 10, 1), 5);
    assert_eq!(work(&mut scheduler, &mut fake, &first), (0, 210 + 4));
    // The same again, another end, and what was generated as part of the prompt.
    assert_eq!(work(&mut scheduler, &mut fake, &first), (209, 1 + 4));
    assert_eq!(work(&mut scheduler, &mut fake, &request(prompt(1, 200, 30, 2), 1)), (200, 30));
    let longer = [&first.prompt[..], &answer(&first)[..4], &[50, 51]].concat();
    assert_eq!(work(&mut scheduler, &mut fake, &request(longer, 1)), (214, 2));
    assert_eq!((scheduler.cache_stats().hits, scheduler.cache_stats().saved_tokens), (3, 209 + 200 + 214));
}

#[test]
fn requests_that_begin_alike_wait_for_the_first() {
    let tokenizer = tokenizer();
    let mut fake = Fake::new(40);
    let mut scheduler = Scheduler::new(LIMITS);
    let requests: Vec<_> = (0..4).map(|i| request(prompt(1, 200, 10, i), 5)).collect();
    submit_all(&mut scheduler, &mut fake, &requests);
    let finished = run(&mut scheduler, &mut fake, &tokenizer);
    let cached: Vec<_> = finished.iter().map(|f| f.result.as_ref().unwrap().cached_tokens).collect();
    assert_eq!(cached, [0, 200, 200, 200]);
    for (request, finished) in requests.iter().zip(&finished) {
        assert_eq!(finished.result.as_ref().unwrap().tokens, answer(request));
    }
}

#[test]
fn what_needs_more_pages_than_there_are_waits_or_is_refused() {
    let tokenizer = tokenizer();
    let mut fake = Fake::new(4);
    let mut scheduler = Scheduler::new(LIMITS);
    let too_long = scheduler.submit(&mut fake, request(prompt(0, 256, 0, 0), 1));
    assert!(matches!(too_long, Err(EngineError::PromptTooLong { prompt: 256, ctx: 256 })));
    let requests: Vec<_> = (0..5).map(|i| request(prompt(i * 3, 100, 0, 0), 60)).collect();
    submit_all(&mut scheduler, &mut fake, &requests);
    scheduler.step(&mut fake, &tokenizer, &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(scheduler.load(), Load { queued: 4, prefilling: 0, decoding: 1 });
    for (request, finished) in requests.iter().zip(run(&mut scheduler, &mut fake, &tokenizer)) {
        assert_eq!(finished.result.unwrap().tokens, answer(request));
    }
    let mut full = Scheduler::new(Limits { max_queue: 1, ..LIMITS });
    full.submit(&mut fake, requests[0].clone()).unwrap();
    assert!(matches!(full.submit(&mut fake, requests[0].clone()), Err(EngineError::QueueFull { max: 1 })));
}

#[test]
fn a_failed_pass_ends_those_that_shared_it() {
    let tokenizer = tokenizer();
    let mut fake = Fake::new(40);
    fake.failing = Some(6);
    let mut scheduler = Scheduler::new(Limits { max_batch: 2, ..LIMITS });
    let requests: Vec<_> = (0..4).map(|i| request(prompt(i * 3, 10, 10, i), 20)).collect();
    submit_all(&mut scheduler, &mut fake, &requests);
    let finished = run(&mut scheduler, &mut fake, &tokenizer);
    let failed: Vec<_> = finished.iter().map(|finished| finished.result.is_err()).collect();
    assert_eq!(failed, [true, true, false, false]);
    assert_eq!(finished[3].result.as_ref().unwrap().tokens, answer(&requests[3]));
    scheduler.clear_cache(&mut fake);
    assert_eq!(fake.n_free_pages(), 40);
}

/// Streams go on in every pass while a long prompt is taken in, and the prompt does so too.
#[test]
fn a_long_prompt_and_streams_share_passes() {
    let tokenizer = tokenizer();
    let mut fake = Fake::new(40);
    let mut scheduler = Scheduler::new(LIMITS);
    scheduler.submit(&mut fake, request(prompt(1, 5, 0, 0), 290)).unwrap();
    for _ in 0..3 {
        scheduler.step(&mut fake, &tokenizer, &mut |_, _| ControlFlow::Continue(()));
    }
    let long = scheduler.submit(&mut fake, request(prompt(9, 250, 0, 0), 2)).unwrap();
    let (mut n_tokens, mut n_passes, mut is_done) = (0, 0, false);
    while !is_done {
        scheduler.step(&mut fake, &tokenizer, &mut |id, event| {
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
    let tokenizer = tokenizer();
    let mut fake = Fake::new(14);
    let mut scheduler = Scheduler::new(LIMITS);
    let shift = |request| GenerateRequest { overflow: Overflow::Shift { n_keep: 4 }, ..request };
    // One that begins with more than the context, one that comes to it, and one beside them.
    let long = shift(request(prompt(1, 700, 3, 1), 40));
    let growing = shift(request(prompt(5, 250, 3, 2), 900));
    let other = request(prompt(8, 20, 3, 3), 50);
    submit_all(&mut scheduler, &mut fake, &[long.clone(), growing.clone(), other.clone()]);
    let finished = run(&mut scheduler, &mut fake, &tokenizer);
    let tokens: Vec<_> = finished.iter().map(|finished| &finished.result.as_ref().unwrap().tokens[..]).collect();
    assert_eq!(tokens, [&shifted_answer(&long, 40)[..], &shifted_answer(&growing, 900)[..], &answer(&other)[..]]);
    scheduler.clear_cache(&mut fake);
    assert_eq!((fake.n_free_pages(), fake.tokens.len()), (14, 0));
}

#[test]
fn hidden_states_are_pooled_over_all_passes_of_a_prompt() {
    let tokenizer = tokenizer();
    let mut fake = Fake::new(40);
    let mut scheduler = Scheduler::new(LIMITS);
    let embed = |pooling| GenerateRequest { pooling: Some(pooling), ..request(prompt(1, 250, 10, 1), 5) };
    for pooling in [Pooling::Mean, Pooling::Last, Pooling::First, Pooling::Mean] {
        let text = request(prompt(2, 100, 10, 1), 5);
        submit_all(&mut scheduler, &mut fake, &[text.clone(), embed(pooling)]);
        let finished = run(&mut scheduler, &mut fake, &tokenizer);
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
    let tokenizer = tokenizer();
    let mut state = 11u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % n
    };
    let mut fake = Fake::new(14);
    let mut scheduler = Scheduler::new(Limits { max_batch: 4, max_queue: 8, cache_pages: 6 });
    let mut asked: BTreeMap<RequestId, GenerateRequest> = BTreeMap::new();
    let (mut n_whole, mut n_cancelled, mut n_failed) = (0, 0, 0);
    for _ in 0..10_000 {
        match random(10) {
            0..3 => {
                let (family, common, own) = (random(3) as u32, random(200) as usize, random(60) as usize + 1);
                let request = request(prompt(family, common, own, random(9) as u32), random(30) as usize);
                if let Ok(id) = scheduler.submit(&mut fake, request.clone()) {
                    asked.insert(id, request);
                }
            }
            3 => {
                let ids: Vec<_> = asked.keys().copied().collect();
                if !ids.is_empty() {
                    scheduler.cancel(ids[random(ids.len() as u64) as usize]);
                }
            }
            _ => {
                fake.failing = (random(200) == 0).then_some(fake.passes.len() + 1);
                for finished in scheduler.step(&mut fake, &tokenizer, &mut |_, _| match random(300) {
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
        let load = scheduler.load();
        assert_eq!(load.queued + load.prefilling + load.decoding, asked.len());
    }
    assert!(n_whole > 300 && n_cancelled > 100 && n_failed > 5, "{n_whole} {n_cancelled} {n_failed}");
    assert!(scheduler.cache_stats().hits > 100);
    asked.into_keys().for_each(|id| scheduler.cancel(id));
    run(&mut scheduler, &mut fake, &tokenizer);
    scheduler.clear_cache(&mut fake);
    assert_eq!((fake.n_free_pages(), fake.tokens.len()), (14, 0));
}

fn identity() -> CacheIdentity {
    CacheIdentity { model: 7 << 100, kv_type: forward::KvType::F16 }
}

/// A scheduler that has just been started, with the files of a folder.
fn started(folder: &std::path::Path, identity: CacheIdentity, max_bytes: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(Limits { cache_pages: 40, ..LIMITS });
    scheduler.use_disk(DiskCache::open(folder, identity, PAGE_BYTES, max_bytes).unwrap());
    // The fake takes no time.
    scheduler.seconds_per_token = 1.0;
    scheduler
}

/// Runs a request, saves what it leaves, and tells how many tokens of it were there before.
fn run_and_save(scheduler: &mut Scheduler, request: &GenerateRequest) -> usize {
    let mut fake = Fake::new(40);
    scheduler.submit(&mut fake, request.clone()).unwrap();
    let generation = run(scheduler, &mut fake, &tokenizer()).pop().unwrap().result.unwrap();
    assert_eq!(generation.tokens, answer(request));
    scheduler.seconds_per_token = 1.0;
    scheduler.save(&mut fake).unwrap();
    generation.cached_tokens
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect()
}

#[test]
fn a_prompt_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let start = |identity| started(folder.path(), identity, 1 << 20);
    let first = request(prompt(1, 200, 10, 1), 5);
    assert_eq!(run_and_save(&mut start(identity()), &first), 0);
    assert_eq!(run_and_save(&mut start(identity()), &first), 209);
    assert_eq!(run_and_save(&mut start(identity()), &request(prompt(1, 130, 30, 2), 5)), 130);
    // Too little in common, another model, another way of storing.
    assert_eq!(run_and_save(&mut start(identity()), &request(prompt(1, 50, 30, 2), 5)), 0);
    assert_eq!(run_and_save(&mut start(CacheIdentity { model: 8, ..identity() }), &first), 0);
    let other_type = CacheIdentity { kv_type: forward::KvType::F32, ..identity() };
    assert_eq!(run_and_save(&mut start(other_type), &first), 0);
    // What goes on where another ends takes its place.
    let n_files = files(folder.path()).len();
    let longer = request([&first.prompt[..], &answer(&first)[..], &[41]].concat(), 3);
    assert_eq!(run_and_save(&mut start(identity()), &longer), 214);
    assert_eq!(files(folder.path()).len(), n_files);
}

#[test]
fn prompts_that_are_computed_faster_than_read_are_computed() {
    let folder = tempfile::tempdir().unwrap();
    let first = request(prompt(1, 200, 10, 1), 5);
    let mut scheduler = started(folder.path(), identity(), 1 << 20);
    let mut fake = Fake::new(40);
    scheduler.submit(&mut fake, first.clone()).unwrap();
    run(&mut scheduler, &mut fake, &tokenizer());
    scheduler.seconds_per_token = 1e-9;
    scheduler.save(&mut fake).unwrap();
    assert_eq!(run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first), 0);
}

#[test]
fn the_folder_stays_as_small_as_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let max_bytes = 5 * PAGE_BYTES as u64 * 2;
    for i in 0..6 {
        run_and_save(&mut started(folder.path(), identity(), max_bytes), &request(prompt(3 * i, 200, 10, i), 5));
        let total: u64 = files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(total <= max_bytes, "{total}");
    }
    // The last one is still there.
    let last = request(prompt(15, 200, 10, 5), 5);
    assert_eq!(run_and_save(&mut started(folder.path(), identity(), max_bytes), &last), 209);
    // A smaller budget holds from the start.
    started(folder.path(), identity(), PAGE_BYTES as u64);
    assert_eq!(files(folder.path()), Vec::<std::path::PathBuf>::new());
}

/// Whatever byte of a file is changed or wherever it is cut: what is restored is right, or it is computed.
#[test]
fn a_damaged_file_is_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let first = request(prompt(1, 100, 10, 1), 3);
    run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first);
    let path = files(folder.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        // The answer is checked; damage in the last page's unused end is found too.
        assert_eq!(run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first), 0, "byte {at}");
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::create_dir(folder.path()).unwrap();
        std::fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first), 0, "cut at {at}");
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::create_dir(folder.path()).unwrap();
    }
}

#[test]
fn files_of_others_are_let_be() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_mins(10);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        path
    };
    let theirs = [
        write("notes.ssdkv", b"notes"),
        write("long.ssdkv", &[7; 500]),
        write(".writing-novel", b"It was a dark and stormy night."),
        write("notes.txt", b"ssd-llmK"),
    ];
    let ours = [
        write("cut.ssdkv", b"ssd-llmK"),
        write("empty.ssdkv", b""),
        write(".writing-a1", b"ssd-llmK\x01\0\0\0"),
        write(".writing-b2", b"ssd"),
    ];
    // One that opens a pipe waits for whoever writes to it.
    let pipe = folder.path().join("pipe.ssdkv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    started(folder.path(), identity(), 1 << 20);
    assert!(pipe.exists());
    assert!(theirs.iter().all(|path| path.exists()), "{:?}", files(folder.path()));
    assert!(!ours.iter().any(|path| path.exists()), "{:?}", files(folder.path()));
}
