//! A logit's bits depend on the model and the tokens before it, and on nothing else.
//!
//! Speculation and batching are lossless because of this, and no bug report can blame them. So, bit for bit: a row is
//! the same alone and among up to 16 rows, whether they belong to its own sequence or to a neighbour; whatever part of the
//! weights is in memory and however the rest is read; on one thread and
//! on three, for long batches as well; after tokens were taken back; and whichever other rows ask for logits. Each
//! holds on every kernel tier, for a float type, a type with blocks of 32 and one with super-blocks.

use crate::common::{PROMPT, SEQ, Setup, open, rows, run};
use forward::{Batch, KvType, LanguageModel, LogitRows, Segment, SeqId};
use kernels::Kernels;
use store::{CachePolicy, IoMode};
use testkit::{TinyModel, TinySpec};

/// Models, and how their keys and values are kept.
const MODELS: [(&str, KvType); 4] = [
    ("llama", KvType::F32),
    ("qwen2 type=Q4_0 type.ffn_down=Q8_0", KvType::F16),
    ("llama type=Q5_1 type.attn_k=BF16", KvType::F32),
    ("qwen2 dim=256 head_dim=64 rope_dim=64 ffn=256 type=Q4_K type.attn_v=Q6_K", KvType::Q8_0),
];

const NEIGHBOUR: SeqId = SeqId(2);

/// Runs a story for every model and tier.
fn for_all(story: impl Fn(&str, &TinyModel, Setup)) {
    for (line, kv_type) in MODELS {
        let model = TinySpec::from_line(line).build();
        for &kernels in Kernels::available() {
            let case = format!("{line}, {}, {kv_type:?}", kernels.name());
            story(&case, &model, Setup { kernels, kv_type, ..Setup::default() });
        }
    }
}

fn segment(seq: SeqId, start: usize, tokens: &[u32], logits: LogitRows) -> Segment {
    Segment { seq, start, tokens: tokens.to_vec(), logits, prompt_len: 0, parents: Vec::new() }
}

#[test]
fn a_prompt_in_pieces_of_up_to_16() {
    for_all(|case, model, setup| {
        let alone = run(&mut open(model, setup), &PROMPT[..16], &[1; 16]);
        for lens in [&[16][..], &[15, 1], &[1, 15], &[8, 8], &[3, 5, 2, 6], &[4, 4, 4, 4], &[7, 9], &[11, 5], &[13, 3]]
        {
            let pieces = run(&mut open(model, setup), &PROMPT[..16], lens);
            assert!(pieces == alone, "{case}: pieces {lens:?} differ from single tokens");
        }
    });
}

#[test]
fn a_row_among_rows_of_a_neighbour() {
    for_all(|case, model, setup| {
        let alone = run(&mut open(model, setup), &PROMPT[..6], &[5, 1]).pop().unwrap();
        let neighbour_tokens = PROMPT.repeat(4);
        for n_rows in (2..=16).chain([17, 31, 32, 33, 48, 64]) {
            let mut runner = open(model, setup);
            run(&mut runner, &PROMPT[..5], &[5]);
            let neighbour = segment(NEIGHBOUR, 0, &neighbour_tokens[..n_rows - 1], LogitRows::None);
            let own = segment(SEQ, 5, &PROMPT[5..6], LogitRows::Last);
            // Behind its neighbour in even batches, before it in odd ones.
            let segments = if n_rows % 2 == 0 { vec![neighbour, own] } else { vec![own, neighbour] };
            let found = rows(&runner.forward(&Batch { segments }).unwrap());
            assert!(found == [alone.clone()], "{case}: {n_rows} rows");
        }
    });
}

/// A long prompt in pieces, some of them short, beside a neighbour that decodes: neither notices the other.
#[test]
fn a_long_prompt_beside_a_neighbour() {
    let long: Vec<u32> = (0..60).map(|i| PROMPT[i * 7 % PROMPT.len()]).collect();
    let long_segment = |range: std::ops::Range<usize>| Segment {
        prompt_len: 60,
        ..segment(SEQ, range.start, &long[range], LogitRows::Last)
    };
    for_all(|case, model, setup| {
        let whole = rows(&open(model, setup).forward(&Batch { segments: vec![long_segment(0..60)] }).unwrap());
        let neighbour = run(&mut open(model, setup), &PROMPT[..8], &[1; 8]);
        let mut runner = open(model, setup);
        let mut last = Vec::new();
        for (i, pieces) in [0, 21, 23, 24, 40, 60].windows(2).enumerate() {
            let decoding = segment(NEIGHBOUR, i, &PROMPT[i..i + 1], LogitRows::Last);
            // In either order: rows come back in the batch's.
            let mut segments = vec![decoding, long_segment(pieces[0]..pieces[1])];
            segments.rotate_left(i % 2);
            let mut both = rows(&runner.forward(&Batch { segments }).unwrap());
            both.rotate_left(i % 2);
            assert!(both[0] == neighbour[i], "{case}: the neighbour's token {i}");
            last = both[1..].to_vec();
        }
        assert!(last == whole, "{case}: the long prompt");
    });
}

#[test]
fn two_sequences_in_one_batch() {
    for_all(|case, model, setup| {
        let first = run(&mut open(model, setup), &PROMPT[..9], &[6, 3]);
        let second = run(&mut open(model, setup), &PROMPT[9..16], &[2, 5]);
        let mut runner = open(model, setup);
        let mut both = |[a, b]: [std::ops::Range<usize>; 2]| {
            let segments = vec![
                segment(SEQ, a.start, &PROMPT[..9][a], LogitRows::All),
                segment(NEIGHBOUR, b.start, &PROMPT[9..16][b], LogitRows::All),
            ];
            rows(&runner.forward(&Batch { segments }).unwrap())
        };
        let start = both([0..6, 0..2]);
        let rest = both([6..9, 2..7]);
        assert!(start == [&first[..6], &second[..2]].concat(), "{case}: the first batch");
        assert!(rest == [&first[6..], &second[2..]].concat(), "{case}: the second batch");
    });
}

#[test]
fn one_thread_or_three() {
    for_all(|case, model, setup| {
        // Also for a batch longer than 16 rows.
        for lens in [&[20][..], &[1; 20]] {
            let one = run(&mut open(model, Setup { threads: 1, ..setup }), &PROMPT, lens);
            for threads in [2, 3] {
                let many = run(&mut open(model, Setup { threads, ..setup }), &PROMPT, lens);
                assert!(many == one, "{case}: {threads} threads, {} segments", lens.len());
            }
        }
    });
}

/// A context of three spans, of which single tokens take one for each task, and longer batches one after another.
#[test]
fn a_long_context_by_token_and_by_batch() {
    let model = TinySpec::from_line("llama").build();
    let tokens: Vec<u32> = (0..2060u32).map(|i| i * 37 % 290).collect();
    // The last twenty tokens cross from the second span into the third.
    let (prompt, rest) = tokens.split_at(2040);
    for &kernels in Kernels::available() {
        let setup = Setup { kernels, ctx: 2100, kv_type: KvType::F16, ..Setup::default() };
        let after = |threads: usize, lens: &[usize]| {
            let mut runner = open(&model, Setup { threads, ..setup });
            for (i, part) in prompt.chunks(120).enumerate() {
                runner.forward(&Batch::one(SEQ, 120 * i, part.to_vec(), LogitRows::None)).unwrap();
            }
            let mut start = prompt.len();
            let mut found = Vec::new();
            for &len in lens {
                let part = rest[start - prompt.len()..][..len].to_vec();
                found.extend(rows(&runner.forward(&Batch::one(SEQ, start, part, LogitRows::All)).unwrap()));
                start += len;
            }
            found
        };
        let alone = after(1, &[1; 20]);
        for (threads, lens) in [(1, &[16, 4][..]), (2, &[7, 13]), (3, &[1; 20]), (3, &[2, 2, 3, 1, 12])] {
            assert!(after(threads, lens) == alone, "{}: {threads} threads, {lens:?}", kernels.name());
        }
    }
}

#[test]
fn tokens_that_were_taken_back_leave_nothing_behind() {
    for_all(|case, model, setup| {
        let straight = run(&mut open(model, setup), &PROMPT[..12], &[8, 4]);
        let mut runner = open(model, setup);
        run(&mut runner, &PROMPT[..8], &[8]);
        runner.forward(&Batch::one(SEQ, 8, vec![99, 98, 97, 96, 95], LogitRows::None)).unwrap();
        runner.kv().truncate(SEQ, 8);
        let again = runner.forward(&Batch::one(SEQ, 8, PROMPT[8..12].to_vec(), LogitRows::All)).unwrap();
        assert!(rows(&again) == straight[8..], "{case}: other logits after a truncation");
        runner.kv().remove(SEQ);
        assert!(run(&mut runner, &PROMPT[..12], &[8, 4]) == straight, "{case}: other logits after a removal");
    });
}

/// Two sequences with a common beginning, which ends inside a page, and other pages in between.
#[test]
fn a_fork_and_what_it_came_from() {
    let long: Vec<u32> = (0..100).map(|i| PROMPT[i * 7 % PROMPT.len()]).collect();
    for_all(|case, model, setup| {
        let one = run(&mut open(model, setup), &long, &[70, 16, 14]);
        let other_tokens = [&long[..75], &PROMPT[..16]].concat();
        let other = run(&mut open(model, setup), &other_tokens, &[70, 5, 16]);
        let mut runner = open(model, setup);
        run(&mut runner, &long[..86], &[70, 16]);
        runner.kv().fork(SEQ, NEIGHBOUR, 75).unwrap();
        let segments =
            vec![segment(SEQ, 86, &long[86..93], LogitRows::All), segment(NEIGHBOUR, 75, &PROMPT[..9], LogitRows::All)];
        let both = rows(&runner.forward(&Batch { segments }).unwrap());
        assert!(both == [&one[86..93], &other[75..84]].concat(), "{case}: other logits together");
        runner.kv().remove(SEQ);
        let rest = Batch::one(NEIGHBOUR, 84, PROMPT[9..16].to_vec(), LogitRows::All);
        assert!(rows(&runner.forward(&rest).unwrap()) == other[84..], "{case}: other logits alone");
    });
}

#[test]
fn whichever_rows_ask_for_logits() {
    for_all(|case, model, setup| {
        let all = run(&mut open(model, setup), &PROMPT[..10], &[10]);
        for (wanted, from) in [(LogitRows::Last, 9), (LogitRows::From(4), 4), (LogitRows::None, 10)] {
            let batch = Batch::one(SEQ, 0, PROMPT[..10].to_vec(), wanted);
            let found = rows(&open(model, setup).forward(&batch).unwrap());
            assert!(found == all[from..], "{case}: {wanted:?}");
        }
    });
}

#[test]
fn whatever_is_pinned_and_however_it_is_read() {
    for_all(|case, model, setup| {
        let lens = [7, 1, 1, 4, 1, 6];
        let resident = run(&mut open(model, setup), &PROMPT, &lens);
        for (pinned_share, io, policy) in ways() {
            let mut runner = open(model, Setup { pinned_share, io, policy, ..setup });
            let streamed = run(&mut runner, &PROMPT, &lens);
            let case = format!("{case}: {pinned_share} in memory, {io:?}, {policy:?}");
            assert!(streamed == resident, "{case} differs from all in memory");
            let reads = runner.read_stats();
            let passes = lens.len() as u64;
            assert!(pinned_share > 0.0 || policy == CachePolicy::Lru || reads.hits == 0, "{case}: nothing can be kept");
            assert!(reads.hits + reads.prefetch_hits + reads.misses == passes * n_slabs(&runner), "{case}: {reads:?}");
        }
    });
}

/// Shares of the weights in memory, ways to read the others, and ways to keep them.
fn ways() -> impl Iterator<Item = (f64, IoMode, CachePolicy)> {
    let mut modes = vec![IoMode::Auto, IoMode::Direct, IoMode::Pread, IoMode::Buffered, IoMode::Mmap];
    // Where io_uring is refused, `Direct` does without.
    modes.extend(cfg!(target_os = "linux").then_some(IoMode::Uring).filter(|_| uring_works()));
    let shares = [0.0, 0.25, 0.5, 0.75, 0.9, 2.0];
    let policies = [CachePolicy::Pin, CachePolicy::Lru];
    shares.into_iter().flat_map(move |share| {
        let modes = modes.clone();
        policies.into_iter().flat_map(move |policy| modes.clone().into_iter().map(move |io| (share, io, policy)))
    })
}

fn uring_works() -> bool {
    let model = TinySpec::from_line("llama").build();
    crate::common::try_open(&model, Setup { io: IoMode::Uring, ..Setup::default() }).is_ok()
}

/// Slabs that a pass asks for; a tiny model's matrices are one slab each.
fn n_slabs(runner: &forward::Runner<forward::CpuBackend>) -> u64 {
    runner.spec().walk().count() as u64
}
