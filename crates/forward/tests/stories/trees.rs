//! A tree of drafts in one pass: every row has the logits of its branch alone, to the bit, and what is accepted leaves a
//! sequence that has never seen the others.
//!
//! The trees hang off sequences that end inside a page, at its end, and past the attention kernels' first span; with windows
//! and sinks, on one thread and on several, beside a neighbour that decodes, with pages in a file. The f64 reference agrees
//! with each branch.

use crate::common::{PROMPT, SEQ, Setup, open, rows};
use forward::{Batch, CpuBackend, ForwardError, KvType, LanguageModel, LogitRows, Runner, Segment, SeqId, Window};
use kernels::Kernels;
use testkit::compare::relative_to_spread;
use testkit::{TinyModel, TinySpec, reference};

const NEIGHBOUR: SeqId = SeqId(2);

/// Six drafts: two that continue the sequence, and branches of both.
///
/// ```text
/// 0 - 1 - 3 - 5
///   \ 4
/// 2
/// ```
const TOKENS: [u32; 6] = [11, 23, 5, 42, 77, 9];
const PARENTS: [Option<usize>; 6] = [None, Some(0), None, Some(1), Some(0), Some(3)];

fn tree(start: usize) -> Segment {
    Segment { parents: PARENTS.to_vec(), ..Segment::run(SEQ, start, TOKENS.to_vec(), LogitRows::All) }
}

/// The rows from the root to this one.
fn path(row: usize) -> Vec<usize> {
    let mut path: Vec<usize> = std::iter::successors(Some(row), |row| PARENTS[*row]).collect();
    path.reverse();
    path
}

/// A text of `len` tokens.
fn text(len: usize) -> Vec<u32> {
    (0..len).map(|i| PROMPT[i * 7 % PROMPT.len()]).collect()
}

/// Computes a prompt in passes that fit.
fn prefill(runner: &mut Runner<CpuBackend>, tokens: &[u32]) {
    for (i, part) in tokens.chunks(120).enumerate() {
        let batch = Batch::prompt(SEQ, 120 * i, part.to_vec(), LogitRows::None, tokens.len());
        runner.forward(&batch).expect("the prompt fits");
    }
}

/// The logits after each token of `tokens`, one by one.
fn one_by_one(runner: &mut Runner<CpuBackend>, start: usize, tokens: &[u32]) -> Vec<Vec<f32>> {
    let one = |(i, token): (usize, &u32)| {
        let batch = Batch::one(SEQ, start + i, vec![*token], LogitRows::All);
        rows(&runner.forward(&batch).expect("a token fits")).remove(0)
    };
    tokens.iter().enumerate().map(one).collect()
}

/// For every kernel tier, ends of sequences, windows and ways to keep keys and values.
fn for_all(mut story: impl FnMut(&str, &TinyModel, Setup, usize)) {
    let model = TinySpec::from_line("llama").build();
    for &kernels in Kernels::available() {
        let base = Setup { kernels, ctx: 1400, kv_type: KvType::F16, ..Setup::default() };
        for start in [3, 62, 64, 100, 1022] {
            for (window, threads) in [(Window::ALL, 3), (Window { len: 40, n_sinks: 4 }, 1)] {
                let case = format!("{}, {start} tokens, {window:?}, {threads} threads", kernels.name());
                story(&case, &model, Setup { window, threads, ..base }, start);
            }
        }
        let spilled = Setup { pages_in_memory: Some(7), ctx: 512, ..base };
        story(&format!("{}, spilled", kernels.name()), &model, spilled, 450);
    }
}

#[test]
fn every_row_has_the_bits_of_its_branch_alone() {
    for_all(|case, model, setup, start| {
        let mut runner = open(model, setup);
        prefill(&mut runner, &text(start));
        let found = rows(&runner.forward(&Batch { segments: vec![tree(start)] }).unwrap());
        for (row, found) in found.iter().enumerate() {
            let branch: Vec<u32> = path(row).into_iter().map(|row| TOKENS[row]).collect();
            let alone = one_by_one(&mut runner, start, &branch);
            assert!(found == alone.last().unwrap(), "{case}: row {row}");
            runner.kv().truncate(SEQ, start);
        }
    });
}

#[test]
fn what_is_accepted_has_never_seen_the_others() {
    for_all(|case, model, setup, start| {
        let after = [8, 100, 200];
        for accepted in [vec![], path(4), path(5)] {
            let branch: Vec<u32> = accepted.iter().map(|row| TOKENS[*row]).collect();
            let mut straight = open(model, setup);
            prefill(&mut straight, &text(start));
            one_by_one(&mut straight, start, &branch);
            let expected = one_by_one(&mut straight, start + branch.len(), &after);

            let mut runner = open(model, setup);
            prefill(&mut runner, &text(start));
            runner.forward(&Batch { segments: vec![tree(start)] }).unwrap();
            runner.accept(SEQ, &accepted).unwrap();
            assert_eq!(runner.kv().len(SEQ), start + branch.len());
            assert_eq!(runner.kv().n_free_pages(), straight.kv().n_free_pages() + after_pages(start, branch.len(), 3));
            let found = one_by_one(&mut runner, start + branch.len(), &after);
            assert!(found == expected, "{case}: {accepted:?}");
        }
    });
}

/// Pages that `n` tokens behind `len` others have taken.
fn after_pages(start: usize, len: usize, n: usize) -> usize {
    (start + len + n).div_ceil(forward::PAGE_TOKENS) - (start + len).div_ceil(forward::PAGE_TOKENS)
}

#[test]
fn a_tree_beside_a_neighbour_that_decodes() {
    for_all(|case, model, setup, start| {
        let mut alone = open(model, setup);
        prefill(&mut alone, &text(start));
        let expected = rows(&alone.forward(&Batch { segments: vec![tree(start)] }).unwrap());
        let neighbour = |tokens: &[u32]| Segment::run(NEIGHBOUR, 0, tokens.to_vec(), LogitRows::Last);
        let own = rows(&alone.forward(&Batch { segments: vec![neighbour(&PROMPT[..9])] }).unwrap());

        let mut runner = open(model, setup);
        prefill(&mut runner, &text(start));
        let together = rows(&runner.forward(&Batch { segments: vec![neighbour(&PROMPT[..9]), tree(start)] }).unwrap());
        assert!(together == [own, expected].concat(), "{case}");
    });
}

#[test]
fn the_reference_agrees_with_every_branch() {
    let model = TinySpec::from_line("llama").build();
    let start = 60;
    let mut runner = open(&model, Setup::default());
    prefill(&mut runner, &text(start));
    let found = rows(&runner.forward(&Batch { segments: vec![tree(start)] }).unwrap());
    for (row, found) in found.iter().enumerate() {
        let branch = path(row).into_iter().map(|row| TOKENS[row]);
        let expected = reference::logits(&model, &text(start).into_iter().chain(branch).collect::<Vec<u32>>());
        let distance = relative_to_spread(found, expected.last().unwrap());
        assert!(distance <= 1e-5, "row {row}: {distance:.2e} standard deviations off");
    }
}

#[test]
fn trees_that_are_none_and_paths_that_are_none_are_refused() {
    let model = TinySpec::from_line("llama").build();
    let mut runner = open(&model, Setup::default());
    prefill(&mut runner, &text(10));
    for parents in [vec![Some(0); 6], vec![None; 5], vec![None, Some(2), None, None, None, None]] {
        let batch = Batch { segments: vec![Segment { parents, ..tree(10) }] };
        assert!(matches!(runner.forward(&batch), Err(ForwardError::Malformed)));
    }
    let accept = |runner: &mut Runner<CpuBackend>, rows: &[usize]| runner.accept(SEQ, rows);
    assert!(matches!(accept(&mut runner, &[0]), Err(ForwardError::NotAPath { .. })), "there is no tree");
    runner.forward(&Batch { segments: vec![tree(10)] }).unwrap();
    for rows in [&[1][..], &[0, 3], &[0, 1, 4], &[2, 0], &[6]] {
        assert!(matches!(accept(&mut runner, rows), Err(ForwardError::NotAPath { .. })), "{rows:?}");
    }
    // A tree that nothing is accepted of is gone with the next thing that is done.
    let free = runner.kv().n_free_pages();
    runner.forward(&Batch::one(SEQ, 10, vec![7], LogitRows::None)).unwrap();
    assert_eq!((runner.kv().len(SEQ), runner.kv().n_free_pages()), (11, free));
    assert!(accept(&mut runner, &[0]).is_err());
}
