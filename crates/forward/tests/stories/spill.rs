//! Keys and values that memory does not hold make no difference.
//!
//! Two runners live through the same random story, one with all pages in memory and one with a few, the others in a file:
//! they answer with the same bits, refuse the same, and show the same pages. The story has everything that happens to
//! sequences: growth alone and together, forks, tokens taken back far behind the border, passes stopped in their middle,
//! pages that come from elsewhere, windows. A disk that is full is an error that costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{LIMIT_BYTES, PROMPT, SEQ, Setup, open, open_with_stop, rows, run};
use forward::{
    Batch, CpuBackend, ForwardError, KvType, LanguageModel, LogitRows, PAGE_TOKENS, Runner, Segment, SeqId, Window,
};
use model::gguf::Gguf;
use store::{Ledger, StoreError};
use testkit::{TinyModel, TinySpec, temp_model};

/// A context of two spans of attention.
const CTX: usize = 1300;

/// Models, how their keys and values are stored, what a token sees, and pages in memory: no fewer than the largest batch
/// writes when it is of three sequences.
const CASES: [(&str, KvType, Window, usize); 6] = [
    ("llama", KvType::F32, Window::ALL, 8),
    ("llama", KvType::F16, Window::ALL, 11),
    ("qwen2 layers=3", KvType::F16, Window::ALL, 30),
    ("qwen2 layers=1", KvType::F32, Window::ALL, 9),
    ("llama head_dim=32 rope_dim=32", KvType::Q8_0, Window::ALL, 8),
    ("llama layers=3", KvType::F16, Window { len: 300, n_sinks: 4 }, 8),
];

/// A source of choices for one story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// The two runners, and what stops the second.
struct Both {
    whole: Runner<CpuBackend>,
    spilled: Runner<CpuBackend>,
    stop: Arc<AtomicBool>,
}

impl Both {
    fn open(model: &TinyModel, setup: Setup) -> Both {
        let path = temp_model(&model.gguf_bytes());
        let header = Gguf::open(&path).expect("testkit writes GGUF");
        let ledger = Ledger::new(LIMIT_BYTES);
        let (spilled, stop) = open_with_stop(&header, setup, &ledger).expect("the file is there");
        Both { whole: open(model, Setup { pages_in_memory: None, ..setup }), spilled, stop }
    }

    fn len(&mut self, seq: SeqId) -> usize {
        let lens = [&mut self.whole, &mut self.spilled].map(|runner| runner.kv().len(seq));
        assert_eq!(lens[0], lens[1]);
        lens[0]
    }

    fn forward(&mut self, batch: &Batch) {
        let whole = self.whole.forward(batch).map(|logits| rows(&logits)).map_err(|e| e.to_string());
        let spilled = self.spilled.forward(batch).map(|logits| rows(&logits)).map_err(|e| e.to_string());
        assert!(whole == spilled, "{:?} and {:?}", whole.err(), spilled.err());
    }

    /// A pass of the second that is stopped at some moment or just not; the first one computes it only in that case.
    fn forward_and_stop(&mut self, batch: &Batch, after: usize) {
        let stop = Arc::clone(&self.stop);
        let stopper = std::thread::spawn(move || {
            (0..after).for_each(|_| std::hint::spin_loop());
            stop.store(true, Ordering::Relaxed);
        });
        let spilled = self.spilled.forward(batch);
        stopper.join().expect("it only waits");
        self.stop.store(false, Ordering::Relaxed);
        match spilled {
            Ok(logits) => assert!(rows(&self.whole.forward(batch).expect("the other could")) == rows(&logits)),
            Err(ForwardError::Store(StoreError::Stopped)) => {}
            Err(error) => assert_eq!(self.whole.forward(batch).err().map(|e| e.to_string()), Some(error.to_string())),
        }
    }

    /// The page of a sequence, which has no token that is not there.
    fn page(&mut self, seq: SeqId, index: usize) -> Option<Vec<u8>> {
        let whole = self.whole.page(seq, index).map(<[u8]>::to_vec);
        assert!(self.spilled.page(seq, index).map(<[u8]>::to_vec) == whole, "page {index} of {seq:?}");
        whole
    }

    /// Makes a sequence of the whole pages of another.
    fn bring_copy(&mut self, from: SeqId, to: SeqId) {
        let n = self.len(from) / PAGE_TOKENS;
        let Some(pages) = (0..n).map(|i| self.page(from, i)).collect::<Option<Vec<_>>>() else { return };
        let [whole, spilled] = [&mut self.whole, &mut self.spilled].map(|runner| {
            runner.kv().remove(to);
            runner.insert(to, n * PAGE_TOKENS).map_err(|e| e.to_string())?;
            for (i, page) in pages.iter().enumerate() {
                runner.page_mut(to, i).ok_or("a page is missing")?.copy_from_slice(page);
            }
            Ok::<(), String>(())
        });
        assert_eq!(whole, spilled);
    }

    /// Up to three of the sequences, each with up to so many tokens more.
    fn batch(&mut self, dice: &mut Dice, longest: usize) -> Batch {
        let first = dice.roll(4);
        let segments = (0..1 + dice.roll(3)).map(|i| {
            let seq = SeqId(((first + i) % 4) as u64);
            let n = 1 + dice.roll(longest);
            let tokens = (0..n).map(|_| dice.roll(290) as u32).collect();
            Segment { seq, start: self.len(seq), tokens, logits: LogitRows::Last, prompt_len: 0, parents: Vec::new() }
        });
        Batch { segments: segments.collect() }
    }
}

fn live_through(seed: u64, model: &TinyModel, setup: Setup) -> u64 {
    let mut dice = Dice(seed);
    let mut both = Both::open(model, setup);
    for _ in 0..250 {
        let (seq, other) = (SeqId(dice.roll(4) as u64), SeqId(dice.roll(4) as u64));
        let len = both.len(seq);
        let to = dice.roll(len + 1);
        match dice.roll(24) {
            0 => [&mut both.whole, &mut both.spilled].into_iter().for_each(|r| r.kv().remove(seq)),
            1 => [&mut both.whole, &mut both.spilled].into_iter().for_each(|r| r.kv().truncate(seq, to)),
            2 => {
                let nearby = len - len.min(to % 40);
                [&mut both.whole, &mut both.spilled].into_iter().for_each(|r| r.kv().truncate(seq, nearby));
            }
            3 | 4 => {
                let forked = [&mut both.whole, &mut both.spilled].map(|r| r.kv().fork(seq, other, to).is_ok());
                assert_eq!(forked[0], forked[1]);
            }
            5 => drop((len >= PAGE_TOKENS).then(|| both.page(seq, to % (len / PAGE_TOKENS)))),
            6 if seq != other => both.bring_copy(seq, other),
            7 | 8 => {
                let batch = both.batch(&mut dice, 30);
                both.forward_and_stop(&batch, 1 << dice.roll(20));
            }
            9..15 => {
                let batch = both.batch(&mut dice, 42);
                both.forward(&batch);
            }
            15..18 => {
                let tokens = (0..128).map(|_| dice.roll(290) as u32).collect();
                both.forward(&Batch::one(seq, len, tokens, LogitRows::All));
            }
            _ => {
                let batch = both.batch(&mut dice, 1);
                both.forward(&batch);
            }
        }
    }
    both.spilled.read_stats().bytes_read.saturating_sub(both.whole.read_stats().bytes_read)
}

#[test]
fn the_same_bits_with_few_pages_in_memory() {
    let (mut n_stories, mut n_with_reads) = (0, 0);
    for (line, kv_type, window, pages) in CASES {
        let model = TinySpec::from_line(line).build();
        for seed in 0..3 {
            let setup = Setup {
                ctx: CTX,
                kv_type,
                window,
                pages_in_memory: Some(pages),
                threads: 1 + seed % 2,
                ..Setup::default()
            };
            let story = || live_through(seed as u64, &model, setup);
            let read = std::panic::catch_unwind(story).unwrap_or_else(|_| panic!("{line}, {kv_type:?}, seed {seed}"));
            n_stories += 1;
            n_with_reads += usize::from(read > 0);
        }
    }
    // Passes that are stopped read weights again, now one runner more and now the other, which hides what little a story
    // has read of its file.
    assert!(2 * n_with_reads > n_stories, "{n_with_reads} of {n_stories} stories had something in the file");
}

/// One sequence as long as its context, token by token behind a long prompt: what a decoding run sees.
#[test]
fn a_long_context_decodes_the_same() {
    let model = TinySpec::from_line("llama").build();
    let tokens: Vec<u32> = (0..CTX).map(|i| PROMPT[i * 7 % PROMPT.len()]).collect();
    let lens = [&[128; 9][..], &[1; CTX - 9 * 128]].concat();
    let setup = Setup { ctx: CTX, kv_type: KvType::F16, ..Setup::default() };
    let whole = run(&mut open(&model, setup), &tokens, &lens);
    for pages in [8, 16, 20] {
        let mut runner = open(&model, Setup { pages_in_memory: Some(pages), ..setup });
        assert!(run(&mut runner, &tokens, &lens) == whole, "{pages} pages in memory");
    }
}

/// A limit on files' sizes stands for a disk that is full.
#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    if std::env::var_os("FILES_ARE_LIMITED").is_none() {
        let own = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["a_full_disk_is_an_error_and_nothing_is_lost", "--exact", "--test-threads=1"])
            .env("FILES_ARE_LIMITED", "1")
            .output()
            .unwrap();
        assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stdout));
        return;
    }
    let model = TinySpec::from_line("llama").build();
    let setup = Setup { ctx: CTX, pages_in_memory: Some(8), ..Setup::default() };
    let mut both = Both::open(&model, setup);
    let tokens: Vec<u32> = (0..CTX).map(|i| PROMPT[i * 7 % PROMPT.len()]).collect();
    let batch = |start: usize, n: usize| Batch::one(SEQ, start, tokens[start..start + n].to_vec(), LogitRows::Last);
    let mut len = 0;
    let error = loop {
        match both.spilled.forward(&batch(len, 60)) {
            Ok(_) => both.whole.forward(&batch(len, 60)).map(drop).expect("memory holds all"),
            Err(error) => break error.to_string(),
        }
        len += 60;
    };
    assert!(error.contains("cannot write") && error.contains("--mmap-kv"), "{error}");
    assert!(both.len(SEQ) == len && len >= 7 * PAGE_TOKENS, "{len} tokens: {error}");
    (0..len / PAGE_TOKENS).for_each(|i| assert!(both.page(SEQ, i).is_some()));
    // There is room for some more where tokens are taken back.
    [&mut both.whole, &mut both.spilled].into_iter().for_each(|runner| runner.kv().truncate(SEQ, len - 80));
    both.forward(&batch(len - 80, 60));
}
