//! A model that has no weights: the next token is a function of all tokens before it, which it keeps as a KV cache keeps
//! keys and values. So a wrong page, position or token shows up as another text.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use forward::{Batch, ForwardError, KvOps, LanguageModel, LogitRows, Logits, PAGE_TOKENS, SeqId, Sequences};
use model::TokenId;
use store::ReadStats;
use testkit::{TinySpec, temp_model};

use crate::engine::{Engine, Finished};
use crate::load::ModelFile;
use crate::options::EngineOptions;
use crate::request::GenerateRequest;
use crate::sampler::SamplingOptions;
use crate::scheduler::Limits;

pub(super) const CTX: usize = 300;
pub(super) const PAGE_BYTES: usize = 4 * PAGE_TOKENS;
const N_VOCAB: usize = 64;
const MAX_ROWS: usize = 128;

/// A handle on a model and the KV cache that it pretends to have.
#[derive(Clone)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    page: Vec<u8>,
    /// The page that is being written.
    written: Option<(SeqId, usize, Vec<u8>)>,
}

pub(super) struct State {
    pub(super) sequences: Sequences,
    /// What each sequence's pages would hold.
    pub(super) tokens: BTreeMap<SeqId, Vec<TokenId>>,
    /// Rows of each pass.
    pub(super) passes: Vec<usize>,
    /// Fails this pass.
    pub(super) failing: Option<usize>,
}

impl Fake {
    fn new(n_pages: usize) -> Fake {
        let sequences = Sequences::new(CTX, n_pages);
        let state = State { sequences, tokens: BTreeMap::new(), passes: Vec::new(), failing: None };
        Fake { state: Arc::new(Mutex::new(state)), page: Vec::new(), written: None }
    }

    /// Reads the tokens of the page that was written last.
    fn settle(&mut self) {
        let Some((seq, index, page)) = self.written.take() else { return };
        if let Some(tokens) = self.state().tokens.get_mut(&seq) {
            let bytes = page.as_chunks().0.iter();
            tokens[index * PAGE_TOKENS..].iter_mut().zip(bytes).for_each(|(token, b)| *token = u32::from_le_bytes(*b));
        }
    }

    /// Free pages, and sequences that hold the others.
    pub(super) fn left(&self) -> (usize, usize) {
        let state = self.state();
        (state.sequences.n_free_pages(), state.tokens.len())
    }

    /// Whether the next pass fails; the ones after it do not.
    pub(super) fn fail_next(&self, fails: bool) {
        let mut state = self.state();
        state.failing = fails.then_some(state.passes.len() + 1);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The token after these.
pub(super) fn next(tokens: &[TokenId]) -> TokenId {
    let hash = tokens.iter().fold(1u32, |hash, token| (hash ^ token).wrapping_mul(0x0100_0193).rotate_left(7));
    40 + hash % 20
}

impl LanguageModel for Fake {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, ForwardError> {
        self.settle();
        let state = &mut *self.state();
        assert!(batch.n_rows() <= MAX_ROWS);
        state.sequences.admit(batch)?;
        state.passes.push(batch.n_rows());
        if state.failing == Some(state.passes.len()) {
            state.sequences.abandon(batch);
            return Err(ForwardError::Malformed);
        }
        let (mut logits, mut pooled) = (Vec::new(), Vec::new());
        for segment in &batch.segments {
            let tokens = state.tokens.entry(segment.seq).or_default();
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
        state.sequences.commit(batch);
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
        self.settle();
        let bytes = |tokens: &[TokenId]| tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let page = self.state().tokens.get(&seq)?.chunks(PAGE_TOKENS).nth(index).map(bytes);
        self.page = page?;
        self.page.resize(PAGE_BYTES, 0xAA);
        Some(&self.page)
    }

    fn insert(&mut self, seq: SeqId, len: usize) -> Result<(), ForwardError> {
        let mut state = self.state();
        state.sequences.insert(seq, len)?;
        state.tokens.insert(seq, vec![0; len]);
        Ok(())
    }

    fn page_mut(&mut self, seq: SeqId, index: usize) -> Option<&mut [u8]> {
        self.settle();
        let is_there = index < self.state().tokens.get(&seq)?.len().div_ceil(PAGE_TOKENS);
        let (_, _, page) = self.written.insert((seq, index, vec![0; PAGE_BYTES]));
        is_there.then_some(page)
    }

    fn max_rows(&self) -> usize {
        MAX_ROWS
    }

    fn read_stats(&self) -> ReadStats {
        ReadStats::default()
    }
}

impl KvOps for Fake {
    fn len(&self, seq: SeqId) -> usize {
        self.state().sequences.len(seq)
    }

    fn truncate(&mut self, seq: SeqId, len: usize) {
        self.state().sequences.truncate(seq, len);
        self.state().tokens.entry(seq).or_default().truncate(len);
    }

    fn remove(&mut self, seq: SeqId) {
        self.state().sequences.remove(seq);
        self.state().tokens.remove(&seq);
    }

    fn fork(&mut self, seq: SeqId, copy: SeqId, len: usize) -> Result<(), ForwardError> {
        self.settle();
        self.state().sequences.fork(seq, copy, len)?;
        let mut state = self.state();
        let tokens = state.tokens[&seq][..len].to_vec();
        state.tokens.insert(copy, tokens);
        Ok(())
    }

    fn context(&self) -> usize {
        CTX
    }

    fn n_pages(&self) -> usize {
        self.state().sequences.n_pages()
    }

    fn n_free_pages(&self) -> usize {
        self.state().sequences.n_free_pages()
    }

    fn pages_for(&self, len: usize) -> usize {
        self.state().sequences.pages_for(len)
    }

    fn n_new_pages(&self, seq: SeqId, n: usize) -> usize {
        self.state().sequences.n_new_pages(seq, n)
    }
}

/// An engine on a fake with this many pages, and the fake.
pub(super) fn engine(n_pages: usize, limits: Limits) -> (Engine, Fake) {
    let path = temp_model(&TinySpec::from_line("llama").build().gguf_bytes());
    let options = EngineOptions { ctx: Some(PAGE_TOKENS), threads: 1, ..EngineOptions::default() };
    let mut loaded = ModelFile::open(&path).unwrap().load(&options).unwrap();
    let fake = Fake::new(n_pages);
    loaded.model = Box::new(fake.clone());
    (Engine::new(loaded, limits), fake)
}

pub(super) fn request(prompt: Vec<TokenId>, max_tokens: usize) -> GenerateRequest {
    let sampling = SamplingOptions { temperature: 0.0, ..SamplingOptions::default() };
    GenerateRequest { prompt, max_tokens: Some(max_tokens), sampling, ..GenerateRequest::default() }
}

/// A prompt that begins like others with the same `family`.
pub(super) fn prompt(family: u32, common: usize, own: usize, salt: u32) -> Vec<TokenId> {
    let family = (0..common as u32).map(move |i| 40 + (i * 7 + family) % 20);
    family.chain((0..own as u32).map(|i| 40 + (i * 3 + salt) % 20)).collect()
}

/// The tokens that a request must get.
pub(super) fn answer(request: &GenerateRequest) -> Vec<TokenId> {
    let mut tokens = request.prompt.clone();
    let end = (request.prompt.len() + request.max_answer(CTX)).min(CTX);
    while tokens.len() < end {
        tokens.push(next(&tokens));
    }
    tokens.split_off(request.prompt.len())
}

pub(super) fn run(engine: &mut Engine) -> Vec<Finished> {
    let mut all = Vec::new();
    while !engine.is_idle() {
        all.extend(engine.step(&mut |_, _| ControlFlow::Continue(())));
    }
    all.sort_by_key(|finished| finished.id);
    all
}

pub(super) fn submit_all(engine: &mut Engine, requests: &[GenerateRequest]) {
    for request in requests {
        engine.submit(request.clone()).unwrap();
    }
}

pub(super) const LIMITS: Limits = Limits { max_batch: 4, max_queue: 100, cache_pages: 10 };
