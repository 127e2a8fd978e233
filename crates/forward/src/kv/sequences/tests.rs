//! Pages are free, or owned by the sequences that list them, whatever happens.

use super::*;
use crate::batch::LogitRows;

const CTX: usize = 4 * PAGE_TOKENS;

fn batch(seq: u64, start: usize, n: usize) -> Batch {
    Batch::one(SeqId(seq), start, vec![0; n], LogitRows::Last)
}

fn grow(sequences: &mut Sequences, seq: u64, n: usize) -> Placement {
    let batch = batch(seq, sequences.len(SeqId(seq)), n);
    let placement = sequences.admit(&batch).unwrap();
    sequences.commit(&batch);
    placement
}

#[test]
fn a_refused_batch_changes_nothing() {
    let mut sequences = Sequences::new(CTX, 5);
    assert!(matches!(sequences.admit(&batch(1, 1, 1)), Err(ForwardError::Position { len: 0, .. })));
    assert!(matches!(sequences.admit(&batch(1, 0, CTX + 1)), Err(ForwardError::ContextFull { .. })));
    grow(&mut sequences, 1, CTX);
    let two = Batch { segments: [batch(2, 0, 64), batch(3, 0, 1)].map(|b| b.segments[0].clone()).to_vec() };
    assert!(matches!(sequences.admit(&two), Err(ForwardError::KvFull { wanted: 2, free: 1 })));
    assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (CTX, 1));
    grow(&mut sequences, 2, 64);
    assert_eq!(sequences.n_free_pages(), 0);
}

#[test]
fn truncating_and_removing_make_room() {
    let mut sequences = Sequences::new(CTX, 4);
    grow(&mut sequences, 1, CTX);
    sequences.truncate(SeqId(1), 65);
    assert_eq!((sequences.n_free_pages(), sequences.n_new_pages(SeqId(1), 63)), (2, 0));
    let placement = grow(&mut sequences, 1, 1);
    assert_eq!(placement.rows, [Row { token: 0, segment: 0, position: 65, slot: 65, parent: None }]);
    sequences.remove(SeqId(1));
    assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (0, 4));
}

#[test]
fn what_a_failed_pass_took_is_free_again() {
    let mut sequences = Sequences::new(CTX, 4);
    grow(&mut sequences, 1, 60);
    let both = Batch { segments: [batch(1, 60, 70), batch(2, 0, 1)].map(|b| b.segments[0].clone()).to_vec() };
    sequences.admit(&both).unwrap();
    assert_eq!(sequences.n_free_pages(), 0);
    sequences.abandon(&both);
    assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (60, 3));
}

#[test]
fn a_fork_shares_pages_until_it_writes() {
    let mut sequences = Sequences::new(CTX, 6);
    grow(&mut sequences, 1, 100);
    assert!(sequences.fork(SeqId(1), SeqId(2), 101).is_err());
    sequences.fork(SeqId(1), SeqId(2), 90).unwrap();
    assert_eq!((sequences.len(SeqId(2)), sequences.n_free_pages()), (90, 4));
    assert_eq!((sequences.n_new_pages(SeqId(2), 1), sequences.n_new_pages(SeqId(2), 0)), (1, 0));
    // The first to write gets the copy; the other then has the page alone.
    let [from, to] = match grow(&mut sequences, 2, 1).copies[..] {
        [(from, to)] => [from, to],
        ref copies => panic!("{copies:?}"),
    };
    assert_ne!(from, to);
    assert_eq!(grow(&mut sequences, 1, 1).copies, []);
    assert_eq!(sequences.n_free_pages(), 3);
    sequences.remove(SeqId(1));
    assert_eq!(sequences.n_free_pages(), 4);
    sequences.remove(SeqId(2));
    assert_eq!(sequences.n_free_pages(), 6);
}

#[test]
fn a_refused_pass_leaves_a_fork_its_page() {
    let mut sequences = Sequences::new(CTX, 6);
    grow(&mut sequences, 1, 100);
    sequences.fork(SeqId(1), SeqId(2), 90).unwrap();
    let pages = sequences.pages_of(SeqId(2)).to_vec();
    let both = Batch { segments: [batch(1, 100, 5), batch(2, 90, 40)].map(|b| b.segments[0].clone()).to_vec() };
    let placement = sequences.admit(&both).unwrap();
    assert_eq!(placement.copies.len(), 1);
    sequences.refuse(&both, &placement);
    assert_eq!((sequences.pages_of(SeqId(1)), sequences.pages_of(SeqId(2))), (&pages[..], &pages[..]));
    assert_eq!(sequences.n_free_pages(), 4);
    assert_eq!(sequences.admit(&both).unwrap().copies.len(), 1);
}

#[test]
fn a_fork_at_the_end_of_a_page_copies_nothing() {
    let mut sequences = Sequences::new(CTX, 4);
    grow(&mut sequences, 1, 64);
    sequences.fork(SeqId(1), SeqId(2), 64).unwrap();
    assert_eq!(grow(&mut sequences, 2, 1).copies, []);
    assert_eq!(sequences.n_free_pages(), 2);
    // Taking back into the shared page and writing there leaves the other's alone.
    sequences.truncate(SeqId(2), 10);
    assert_eq!(grow(&mut sequences, 2, 1).copies.len(), 1);
    sequences.fork(SeqId(2), SeqId(2), 3).unwrap();
    assert_eq!((sequences.len(SeqId(2)), sequences.len(SeqId(1))), (3, 64));
}

#[test]
fn what_has_left_the_window_is_free() {
    let window = Window { len: 100, n_sinks: 4 };
    let mut sequences = Sequences::with_window(40 * PAGE_TOKENS, 40, window, 64);
    let mut most = 0;
    for _ in 0..38 {
        grow(&mut sequences, 1, 64);
        most = most.max(40 - sequences.n_free_pages());
    }
    assert!(most <= window.n_pages(38 * 64, 64) && most < 8, "{most} pages");
    let len = sequences.len(SeqId(1));
    // A page's worth can be taken back; what lies further back is gone.
    sequences.truncate(SeqId(1), len - 60);
    assert_eq!(sequences.len(SeqId(1)), len - 60);
    assert!(matches!(sequences.fork(SeqId(1), SeqId(2), 300), Err(ForwardError::OutOfWindow { .. })));
    sequences.fork(SeqId(1), SeqId(2), 3).unwrap();
    sequences.truncate(SeqId(1), 300);
    assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (0, 39));
    sequences.remove(SeqId(2));
    assert_eq!(sequences.n_free_pages(), 40);
}

/// Whatever is done, a page is free or has as many owners as sequences that list it.
#[test]
fn no_page_is_lost_or_owned_twice() {
    let mut state = 7u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % n
    };
    let mut sequences = Sequences::new(CTX, 12);
    for _ in 0..20_000 {
        let (seq, other) = (SeqId(random(5)), SeqId(random(5)));
        let len = sequences.len(seq);
        match random(5) {
            0 => sequences.truncate(seq, random(len as u64 + 1) as usize),
            1 => sequences.remove(seq),
            2 => sequences.fork(seq, other, random(len as u64 + 1) as usize).unwrap(),
            _ => {
                let batch = batch(seq.0, len, random(90) as usize + 1);
                if sequences.admit(&batch).is_ok() {
                    if random(4) == 0 { sequences.abandon(&batch) } else { sequences.commit(&batch) }
                }
            }
        }
        let mut n_owners = [0; 12];
        for sequence in sequences.sequences.values() {
            assert_eq!(sequence.pages.len(), sequence.len.div_ceil(PAGE_TOKENS));
            sequence.pages.iter().for_each(|page| n_owners[page.0 as usize] += 1);
        }
        assert_eq!(n_owners.iter().filter(|n| **n == 0).count(), sequences.n_free_pages());
        for (page, n) in n_owners.iter().enumerate() {
            assert_eq!(sequences.pages.is_shared(PageId(page as u32)), *n > 1);
        }
    }
    (0..5).for_each(|seq| sequences.remove(SeqId(seq)));
    assert_eq!(sequences.n_free_pages(), 12);
}
