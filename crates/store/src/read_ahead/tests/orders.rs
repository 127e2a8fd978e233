//! Passes that jump, that announce what they need before the cycle goes on, or whose cycle leaves slabs out.

use super::*;
use crate::plan::Residency;

impl Setup {
    fn expect(&mut self, slabs: &[SlabId]) {
        self.read_ahead.expect(&self.table, &mut self.cache, slabs);
    }

    /// Waits until read-ahead has come as far as it can.
    fn come_to_rest(&mut self) {
        loop {
            self.settle();
            self.read_ahead.fill(&self.table, &mut self.cache);
            if self.disk.n_in_flight() == 0 {
                break;
            }
        }
    }

    fn bytes_of(&self, slabs: &[SlabId]) -> u64 {
        slabs.iter().map(|id| self.table.get(*id).len as u64).sum()
    }
}

fn ids(indices: impl IntoIterator<Item = usize>) -> Vec<SlabId> {
    indices.into_iter().map(SlabId::at).collect()
}

#[test]
fn what_was_read_ahead_is_found_after_a_detour() {
    for seed in 0..10 {
        // Room for two windows of read-ahead, so that all of the first one stays.
        let mut setup = setup(seed, 20, CachePolicy::Lru, Faults::default());
        setup.visit(SlabId::at(10)).unwrap();
        setup.come_to_rest();
        setup.visit(SlabId::at(30)).unwrap();
        setup.come_to_rest();
        let read = setup.read_ahead.work.bytes;
        for id in ids(11..16) {
            let slot = setup.take(id).unwrap();
            setup.cache.put_back(&setup.table, id, slot);
        }
        setup.settle();
        setup.check(0);
        let again = setup.read_ahead.work.bytes - read;
        assert!(again <= setup.bytes_of(&ids(16..23)), "seed {seed}: {again} bytes");

        // Of few slots, that of the slab that is needed last goes first.
        let mut setup = super::setup(seed, 12, CachePolicy::Pin, Faults::default());
        setup.visit(SlabId::at(10)).unwrap();
        setup.come_to_rest();
        setup.read_ahead.expect(&setup.table, &mut setup.cache, &ids([3]));
        setup.visit(SlabId::at(3)).unwrap();
        assert!(setup.cache.has(SlabId::at(11)) && setup.cache.has(SlabId::at(12)), "seed {seed}");
    }
}

#[test]
fn passes_that_turn_back_early_read_little_more_than_they_need() {
    for seed in 0..10 {
        // Most passes need no logits, and so skip the last ten of forty slabs.
        let mut setup = setup(seed, 12, CachePolicy::Pin, Faults::default());
        let streamed = |ids: &[SlabId]| ids.iter().filter(|id| !setup.plan.pins.contains(id)).copied().collect();
        let (short, all): (Vec<SlabId>, Vec<SlabId>) = (streamed(&ids(0..30)), streamed(&ids(0..40)));
        let mut needed = setup.plan.pinned_bytes;
        for pass in 0..12 {
            let (end, slabs) = if pass % 4 == 3 { (40, &all) } else { (30, &short) };
            ids(0..end).into_iter().for_each(|id| setup.visit(id).unwrap());
            needed += setup.bytes_of(slabs);
            setup.check(0);
        }
        // What is ahead at a turn: all slots.
        let (read, most) = (setup.read_ahead.work.bytes, needed + 10 * 6 * 6102);
        assert!(read <= most, "seed {seed}: {read} read, {needed} needed");

        // Where slots keep what was used, the first pass reads all, and what is ahead at its end stays for good.
        let mut setup = super::setup(seed, 20, CachePolicy::Lru, Faults::default());
        for _ in 0..12 {
            ids(0..10).into_iter().for_each(|id| setup.visit(id).unwrap());
            setup.settle();
        }
        assert_eq!(setup.read_ahead.work.bytes, setup.bytes_of(&ids(0..16)), "seed {seed}");
    }
}

#[test]
fn the_expected_is_read_first_in_its_order_and_each_byte_once() {
    for seed in 0..10 {
        for room in [2, 3, 8, 12] {
            let mut setup = setup(seed, room, CachePolicy::Pin, Faults::default());
            let order = ids((0..25).map(|i| i * 7 % 40));
            let streamed: Vec<SlabId> = order.iter().filter(|id| !setup.plan.pins.contains(id)).copied().collect();
            let mut n_ready = 0;
            for _ in 0..4 {
                setup.expect(&order);
                for &id in &order {
                    setup.come_to_rest();
                    n_ready += usize::from(setup.cache.has(id));
                    setup.visit(id).unwrap();
                    setup.check(0);
                }
            }
            assert_eq!(n_ready, 4 * order.len(), "seed {seed}, room for {room}");
            let needed = setup.bytes_of(&order) + 3 * setup.bytes_of(&streamed);
            // Pins beside the order, and at the end of each pass what the cycle needs next.
            let besides = setup.plan.pinned_bytes + 4 * 7 * 6102;
            let read = setup.read_ahead.work.bytes;
            assert!((needed..=needed + besides).contains(&read), "seed {seed}, room for {room}: {read} of {needed}");
        }
    }
}

#[test]
fn the_cycle_goes_on_where_it_was_and_what_is_skipped_leaves_its_slot() {
    for seed in 0..20 {
        for room in [2, 3, 12] {
            let mut setup = setup(seed, room, CachePolicy::Pin, Faults::default());
            for at in 0..40 {
                // Two of the four are never taken.
                let chosen = ids([3, 11, 23, 34].map(|i| (at + i) % 40));
                setup.expect(&chosen);
                if at % 3 == 0 {
                    setup.settle();
                }
                setup.visit(SlabId::at(at)).unwrap();
                setup.visit(chosen[2]).unwrap();
                setup.visit(chosen[0]).unwrap();
                setup.check(0);
            }
            // All that is expected by now is of the last call, and goes at the jump.
            assert_eq!([setup.pass(), setup.pass()], [None, None]);
            setup.settle();
            let read = setup.read_ahead.work.bytes;
            assert_eq!([setup.pass(), setup.pass()], [None, None]);
            setup.settle();
            let streamed = setup.plan.weights_bytes - setup.cache.kept_bytes();
            let again = (setup.read_ahead.work.bytes - read).abs_diff(2 * streamed);
            assert!(again <= 2 * 6102, "seed {seed}, room for {room}: {again} bytes too many or too few");
        }
    }
}

/// Eight slabs of a trunk that are streamed, and behind them thirty-two of experts that share slots for about `room`.
fn mixture(seed: u64, room: usize) -> Setup {
    let mut setup = setup(seed, room, CachePolicy::Lru, Faults::default());
    setup.plan.residency[..8].fill(Residency::Streamed);
    let homes = Vec::new();
    let slots = Arena::cut((0..setup.plan.n_slots_or_standby()).map(|_| setup.plan.slot_len)).unwrap();
    setup.cache = Cache::new(&setup.table, &setup.plan, homes, slots);
    setup.read_ahead.set_cycle(&mut setup.cache, ids(0..8));
    setup
}

#[test]
fn experts_in_use_stay_in_memory_beside_a_trunk_that_is_streamed() {
    for seed in 0..10 {
        let mut setup = mixture(seed, 24);
        let mut dice = Dice(seed);
        let mut used = std::collections::HashSet::new();
        for _ in 0..12 {
            for layer in 0..4 {
                setup.visit(SlabId::at(2 * layer)).unwrap();
                // The router knows twelve experts, of which it chooses two.
                let chosen = ids((0..2).map(|half| 8 + 6 * half + dice.roll(6)));
                setup.expect(&chosen);
                setup.visit(SlabId::at(2 * layer + 1)).unwrap();
                chosen.iter().for_each(|id| setup.visit(*id).unwrap());
                used.extend(chosen);
                setup.check(0);
            }
        }
        setup.settle();
        let used: Vec<SlabId> = used.into_iter().collect();
        let (trunk, experts) = (setup.bytes_of(&ids(0..8)), setup.bytes_of(&used));
        let read = setup.read_ahead.work.bytes;
        let most = 13 * trunk + experts;
        assert!(read <= most, "seed {seed}: {read} read, more than {most}");
        assert_eq!(setup.cache.evictions(), 0, "seed {seed}");
    }
}

#[test]
fn slabs_outside_the_cycle_are_read_when_they_are_asked_for_and_not_before() {
    for seed in 0..20 {
        for room in [2, 6, 20] {
            let mut setup = setup(seed, room, CachePolicy::Pin, Faults::default());
            let cycle: Vec<SlabId> = ids((0..40).filter(|i| i % 3 > 0));
            setup.read_ahead.set_cycle(&mut setup.cache, cycle.clone());
            for _ in 0..3 {
                cycle.iter().for_each(|id| setup.visit(*id).unwrap());
                setup.settle();
            }
            assert!(ids((0..40).filter(|i| i % 3 == 0)).iter().all(|id| !setup.cache.has(*id)));
            for i in 0..40 {
                setup.visit(SlabId::at(i)).unwrap();
                setup.check(0);
            }
            setup.read_ahead.set_cycle(&mut setup.cache, Vec::new());
            assert_eq!([setup.pass(), setup.pass()], [None, None]);
            setup.check(0);
        }
    }
}
