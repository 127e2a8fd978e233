//! Decisions alone: no model, no tokenizer, a KV cache that is only bookkeeping.

use std::time::Duration;

use forward::{KvOps, SeqId, Sequences};

use crate::request::{FinishReason, GenerateRequest};
use crate::scheduler::{Chunk, Limits, Load, Prefix, Scheduler};
use crate::sequence::Sequence;

const CTX: usize = 1000;
const MAX_ROWS: usize = 128;

fn sequence(id: u64, prompt: &[u32], max_tokens: usize) -> Sequence {
    let request = GenerateRequest { prompt: prompt.to_vec(), max_tokens: Some(max_tokens), ..Default::default() };
    Sequence::new(SeqId(id), request, CTX)
}

fn scheduler(max_batch: usize) -> Scheduler {
    Scheduler::new(Limits { max_batch, max_queue: 10, cache_pages: 10 })
}

/// Admits all that may run; which they are, and the prefixes that they start from.
fn admit(scheduler: &mut Scheduler, kv: &dyn KvOps) -> Vec<(u64, Option<Prefix>)> {
    std::iter::from_fn(|| scheduler.admit(kv, MAX_ROWS).map(|(sequence, prefix)| (sequence.id.0, prefix))).collect()
}

#[test]
fn sequences_are_admitted_in_order_while_all_their_pages_fit() {
    let kv = Sequences::new(CTX, 5);
    let mut scheduler = scheduler(8);
    // Two pages, two pages, two pages, one page.
    for (id, len) in [(0, 100), (1, 100), (2, 100), (3, 10)] {
        scheduler.submit(sequence(id, &vec![id as u32; len], 20)).unwrap();
    }
    assert_eq!(admit(&mut scheduler, &kv), [(0, None), (1, None)]);
    assert_eq!(scheduler.load(), Load { queued: 2, prefilling: 2, decoding: 0 });
    // A small one does not overtake, so that a large one does not starve.
    scheduler.find(SeqId(1)).unwrap().end_with(Ok(FinishReason::Cancelled));
    assert_eq!(scheduler.retire().len(), 1);
    assert_eq!(admit(&mut scheduler, &kv), [(2, None), (3, None)]);
}

#[test]
fn a_cancelled_sequence_that_waits_ends_without_running() {
    let kv = Sequences::new(CTX, 20);
    let mut scheduler = scheduler(1);
    for id in 0..3 {
        scheduler.submit(sequence(id, &[id as u32; 20], 5)).unwrap();
    }
    assert_eq!(admit(&mut scheduler, &kv), [(0, None)]);
    scheduler.find(SeqId(1)).unwrap().end_with(Ok(FinishReason::Cancelled));
    let ended: Vec<u64> = scheduler.retire().iter().map(|sequence| sequence.id.0).collect();
    assert_eq!(ended, [1]);
    assert_eq!(scheduler.load(), Load { queued: 1, prefilling: 1, decoding: 0 });
    assert!(scheduler.find(SeqId(1)).is_none());
}

#[test]
fn a_prompt_waits_for_a_prefix_that_is_being_computed_and_then_starts_from_it() {
    let kv = Sequences::new(CTX, 50);
    let mut scheduler = scheduler(8);
    let (first, second) = ([vec![7; 200], vec![1; 10]].concat(), [vec![7; 200], vec![2; 10]].concat());
    scheduler.submit(sequence(0, &first, 5)).unwrap();
    scheduler.submit(sequence(1, &second, 5)).unwrap();
    scheduler.submit(sequence(2, &[9; 30], 5)).unwrap();
    assert_eq!(admit(&mut scheduler, &kv), [(0, None), (2, None)]);
    scheduler.running[0].len = 210;
    assert_eq!(admit(&mut scheduler, &kv), [(1, Some(Prefix { seq: SeqId(0), len: 200 }))]);
}

#[test]
fn chunks_of_prompts_fill_what_decoding_leaves() {
    let mut scheduler = scheduler(8);
    for (id, len, n_computed) in [(0, 100, 0), (1, 20, 20), (2, 90, 10)] {
        let mut sequence = sequence(id, &vec![id as u32; len], 50);
        sequence.len = n_computed;
        scheduler.running.push(sequence);
    }
    // How many prompt tokens a pass has time for is not known before one without any was timed.
    let decode = Chunk { index: 1, n: 1 };
    assert_eq!(scheduler.schedule(MAX_ROWS), [decode]);
    scheduler.observe(&[decode], Duration::from_millis(10));
    assert_eq!(scheduler.schedule(MAX_ROWS), [decode, Chunk { index: 0, n: 8 }]);
    // Alone, prompts take all rows, the oldest first.
    scheduler.running.remove(1);
    assert_eq!(scheduler.schedule(MAX_ROWS), [Chunk { index: 0, n: 100 }, Chunk { index: 1, n: 28 }]);
}

#[test]
fn the_least_recently_used_entry_is_evicted_and_only_when_pages_are_short() {
    let mut kv = Sequences::new(CTX, 4);
    let mut scheduler = scheduler(8);
    for id in [5, 6, 7] {
        kv.insert(SeqId(id), 64).unwrap();
        assert_eq!(scheduler.cache.keep(SeqId(id), vec![id as u32; 64]), []);
    }
    scheduler.cache.hit(SeqId(5), 64);
    scheduler.running.push(sequence(0, &[1; 200], 5));
    assert_eq!(scheduler.evict_for(&[Chunk { index: 0, n: 64 }], &kv), None);
    assert_eq!(scheduler.evict_for(&[Chunk { index: 0, n: 128 }], &kv), Some(SeqId(6)));
    kv.remove(SeqId(6));
    assert_eq!(scheduler.evict_for(&[Chunk { index: 0, n: 128 }], &kv), None);
}
