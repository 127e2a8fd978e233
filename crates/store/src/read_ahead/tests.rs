//! Read-ahead and cache together on a disk that is late, broken or dead.

mod orders;

use super::*;
use crate::fake_disk::{FakeDisk, Faults};
use crate::plan::{Budget, CachePolicy, PlanOptions, ResidencyPlan, plan};
use crate::slot::{Arena, slot_bytes};
use std::collections::VecDeque;
use std::io::ErrorKind;

struct Setup {
    table: SlabTable,
    plan: ResidencyPlan,
    cache: Cache,
    read_ahead: ReadAhead,
    disk: FakeDisk,
}

/// Slabs of these lengths in memory for about `room` of the largest.
fn setup_of(lens: &[usize], seed: u64, room: usize, policy: CachePolicy, faults: Faults) -> Setup {
    let table = SlabTable::of_lens(lens);
    let budget = |limit_bytes| Budget { limit_bytes, kv_bytes: 0, fixed_bytes: 0, lent_bytes: 0 };
    let least = plan(&table, budget(1 << 40), PlanOptions { policy, depth: None }).unwrap().minimum_budget_bytes;
    let limit_bytes = (room * slot_bytes(lens.iter().copied().max().unwrap())) as u64;
    let plan = plan(&table, budget(limit_bytes.max(least)), PlanOptions { policy, depth: None }).unwrap();
    let homes = Arena::cut(plan.pins.iter().map(|id| table.get(*id).len)).unwrap();
    let slots = Arena::cut((0..plan.n_slots_or_standby()).map(|_| plan.slot_len)).unwrap();
    let cache = Cache::new(&table, &plan, homes, slots);
    let disk = FakeDisk::new(seed, faults);
    let read_ahead = ReadAhead::new(Box::new(disk.clone()), plan.depth, table.ids().collect());
    Setup { table, plan, cache, read_ahead, disk }
}

/// Forty slabs of odd lengths in memory for about `room` of them.
fn setup(seed: u64, room: usize, policy: CachePolicy, faults: Faults) -> Setup {
    let lens: Vec<usize> = (0..40).map(|i| 3000 + 517 * (i % 7)).collect();
    setup_of(&lens, seed, room, policy, faults)
}

impl Setup {
    /// Takes a slab as a pass does and checks its bytes.
    fn take(&mut self, id: SlabId) -> std::io::Result<Slot> {
        let slot = self.read_ahead.take(&self.table, &mut self.cache, id)?;
        let slab = self.table.get(id);
        assert_eq!(slot.slab().len(), slab.len);
        let is_right = slot.slab().iter().zip(slab.offset..).all(|(byte, at)| *byte == FakeDisk::byte_at(at));
        assert!(is_right, "{id:?} has other bytes");
        Ok(slot)
    }

    /// Uses a slab as a pass does and puts it back.
    fn visit(&mut self, id: SlabId) -> std::io::Result<()> {
        let slot = self.take(id)?;
        self.cache.put_back(&self.table, id, slot);
        self.read_ahead.fill(&self.table, &mut self.cache);
        Ok(())
    }

    /// The first slab of a pass that fails.
    fn pass(&mut self) -> Option<SlabId> {
        self.table.ids().find(|id| self.visit(*id).is_err())
    }

    fn settle(&mut self) {
        self.read_ahead.settle(&self.table, &mut self.cache);
    }

    /// What holds at any time, while `in_use` slots are out.
    fn check(&self, in_use: usize) {
        let n_slots = self.plan.pins.len() + self.plan.n_slots_or_standby();
        let n_in_flight = self.disk.n_in_flight();
        assert_eq!(self.cache.n_slots_inside() + n_in_flight + in_use, n_slots, "slots are lost or found");
        assert_eq!(self.read_ahead.in_flight.len(), n_in_flight);
        let most = self.plan.memory_bytes();
        let memory = self.cache.memory_bytes();
        assert!(memory <= most, "{memory} bytes are more than the plan's {most}");
        let kept = self.cache.kept_bytes();
        assert!(kept <= self.plan.weights_bytes, "{kept} bytes are more than there are weights");
    }
}

const POLICIES: [CachePolicy; 2] = [CachePolicy::Pin, CachePolicy::Lru];

#[test]
fn passes_see_the_right_bytes_whatever_the_disk_does_first() {
    for policy in POLICIES {
        for (seed, room) in (0..10).flat_map(|seed| [2, 3, 6, 20, 39, 40, 60].map(|room| (seed, room))) {
            let mut setup = setup(seed, room, policy, Faults::default());
            for _ in 0..3 {
                assert_eq!(setup.pass(), None, "{policy:?}, seed {seed}, room for {room}");
            }
        }
    }
}

#[test]
fn every_byte_is_read_once_a_pass() {
    for room in [2, 3, 8, 20, 38] {
        let mut setup = setup(1, room, CachePolicy::Pin, Faults::default());
        let all: u64 = setup.table.all().iter().map(|s| s.len as u64).sum();
        for _ in 0..5 {
            assert_eq!(setup.pass(), None);
        }
        let streamed = all - setup.cache.kept_bytes();
        let read = setup.read_ahead.take_work().bytes;
        let (expected, ahead) = (all + 4 * streamed, 6 * 7000);
        assert!((expected..=expected + ahead).contains(&read), "room for {room}: {read} read, {expected} needed");
    }
}

#[test]
fn a_pass_may_begin_anywhere_and_turn_back() {
    for policy in POLICIES {
        for (seed, room) in (0..10).flat_map(|seed| [2, 4, 20].map(|room| (seed, room))) {
            let mut setup = setup(seed, room, policy, Faults::default());
            for at in [0, 1, 2, 20, 21, 5, 39, 0, 38, 7, 7, 7, 30, 31, 32] {
                setup.visit(SlabId::at(at)).unwrap();
            }
        }
    }
}

#[test]
fn a_failed_read_is_an_error_once_and_the_next_try_finds_the_slab() {
    for policy in POLICIES {
        for (seed, broken) in (0..10).flat_map(|seed| [0, 1, 2, 17, 18, 39].map(|broken| (seed, broken))) {
            let mut setup = setup(seed, 12, policy, Faults::default());
            let slab = setup.table.get(SlabId::at(broken));
            // Not near its end, where the next slab's first block begins.
            let bad = slab.offset;
            setup.disk.set_faults(Faults { bad: Some((bad..bad + 1, 2)), ..Faults::default() });
            // A pass ends at its first error, and the next begins at the beginning.
            let failed: Vec<SlabId> = (0..4).filter_map(|_| setup.pass()).collect();
            assert!(failed.len() <= 2 && failed.iter().all(|id| id.index() == broken), "{failed:?}");
            assert_eq!(setup.pass(), None);
        }
    }
}

#[test]
fn memory_is_lent_and_given_up_between_slabs() {
    for policy in POLICIES {
        for seed in 0..20 {
            let mut setup = setup(seed, 24, policy, Faults::default());
            for step in 0..120 {
                let id = SlabId::at(step % 40);
                setup.visit(id).unwrap();
                let Setup { table, cache, read_ahead, .. } = &mut setup;
                match step % 29 {
                    3 => cache.lend(table, 60_000),
                    11 => cache.lend(table, 0),
                    17 => drop(cache.give_up(table, 9_000)),
                    23 => read_ahead.settle(table, cache),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_disk_that_stops_answering_is_an_error_and_no_hang() {
    let faults = Faults { dies_after: Some(25), ..Faults::default() };
    let mut setup = setup(3, 6, CachePolicy::Pin, faults);
    let failed = setup.pass().expect("the disk dies in the first pass");
    let before = setup.disk.now();
    let error = setup.visit(failed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("has not responded"), "{error}");
    assert_eq!(setup.disk.now() - before, DISK_PATIENCE, "it is waited for once");
    setup.settle();
    assert!(setup.disk.now() - before <= 2 * DISK_PATIENCE);
    setup.check(0);
}

#[test]
fn a_disk_that_grows_slower_and_dies_is_an_error_and_one_that_comes_back_is_none() {
    for policy in POLICIES {
        for (seed, room) in (0..10).flat_map(|seed| [2, 6, 20].map(|room| (seed, room))) {
            let mut setup = setup(seed, room, policy, Faults { fades: true, ..Faults::default() });
            let failed = (0..3).find_map(|_| setup.pass());
            assert!(failed.is_some() || room == 20, "{policy:?}, seed {seed}, room for {room}");
            setup.check(0);
            setup.disk.set_faults(Faults::default());
            // Late answers to requests that are not waited for any more come first, and may take minutes.
            let last = (0..500).find(|_| setup.pass().is_none());
            assert!(last.is_some(), "{policy:?}, seed {seed}, room for {room}");
            setup.check(0);
        }
    }
}

/// A source of choices for one story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// Passes, turns, loans, pressure and faults in any order, on any model in any memory.
fn live_through(seed: u64) {
    let mut dice = Dice(seed);
    dice.roll(2);
    let n = [1, 2, 3, 4, 5, 9, 40][dice.roll(7)];
    let longest = [1, 100, 5000, 20_000][dice.roll(4)];
    let lens: Vec<usize> = (0..n).map(|_| 1 + dice.roll(longest)).collect();
    let mut setup = setup_of(&lens, seed, dice.roll(n + 8), POLICIES[dice.roll(2)], Faults::default());
    let (mut next, mut given_up) = (0, 0);
    let mut expected = VecDeque::new();
    let some_slabs = |dice: &mut Dice| -> Vec<SlabId> {
        let (first, step) = (dice.roll(n), 1 + dice.roll(3));
        (first..first + dice.roll(n)).step_by(step).map(|i| SlabId::at(i % n)).collect()
    };
    for _ in 0..150 {
        match dice.roll(24) {
            0 => next = dice.roll(n),
            1 | 2 => {
                let lent = [0, 0, dice.roll(3 * longest), dice.roll(n * longest + 1)][dice.roll(4)] as u64;
                setup.settle();
                setup.cache.lend(&setup.table, lent);
                if setup.disk.n_in_flight() == 0 {
                    setup.check_loan(lent + given_up);
                }
            }
            3 => {
                let bytes = dice.roll(longest) as u64;
                setup.cache.give_up(&setup.table, bytes);
                given_up += bytes;
            }
            4 => setup.settle(),
            5 => {
                let some = |dice: &mut Dice| Some(2 + dice.roll(9)).filter(|n| *n < 7);
                let (one_in_fails, one_in_hangs) = (some(&mut dice), some(&mut dice));
                setup.disk.set_faults(Faults { one_in_fails, one_in_hangs, ..Faults::default() });
            }
            6 => setup.disk.set_faults(Faults::default()),
            7 | 8 => {
                let slabs = some_slabs(&mut dice);
                setup.read_ahead.expect(&setup.table, &mut setup.cache, &slabs);
                expected.extend(slabs);
            }
            9 if dice.roll(4) == 0 => {
                let cycle = some_slabs(&mut dice);
                setup.read_ahead.set_cycle(&mut setup.cache, cycle);
            }
            10 => _ = expected.pop_front(),
            11..=14 if !expected.is_empty() => {
                let id = expected.pop_front().expect("looked at just now");
                let slot = setup.take(id);
                setup.check(usize::from(slot.is_ok()));
                slot.into_iter().for_each(|slot| setup.cache.put_back(&setup.table, id, slot));
            }
            _ => {
                setup.read_ahead.look(&setup.table, &mut setup.cache);
                let id = SlabId::at(next);
                if let Ok(slot) = setup.take(id) {
                    setup.check(1);
                    setup.cache.put_back(&setup.table, id, slot);
                    setup.read_ahead.fill(&setup.table, &mut setup.cache);
                    next = (next + 1) % n;
                } else {
                    next = 0;
                }
            }
        }
        setup.check(0);
    }
    setup.disk.set_faults(Faults::default());
    setup.read_ahead.set_cycle(&mut setup.cache, setup.table.ids().collect());
    setup.cache.lend(&setup.table, 0);
    // Requests that hang are late, but complete.
    (0..10).for_each(|_| setup.settle());
    assert_eq!([setup.pass(), setup.pass()], [None, None]);
    setup.settle();
    setup.cache.lend(&setup.table, 0);
    setup.check_loan(given_up);
}

impl Setup {
    /// What holds while nothing is in use or in flight.
    fn check_loan(&self, gone: u64) {
        let most = self.plan.memory_bytes() + self.plan.spare_bytes;
        let allowed = most.saturating_sub(gone).max(self.plan.least_memory_bytes());
        let memory = self.cache.memory_bytes();
        assert!(memory <= allowed, "{memory} bytes of {most} where {gone} are lent or given up");
        let filled = self.cache.filled_bytes();
        assert!(filled <= memory, "{filled} bytes are filled where {memory} are allowed");
    }
}

#[test]
fn slots_and_bytes_are_right_whatever_happens_in_whatever_order() {
    for seed in 0..600 {
        if let Err(panic) = std::panic::catch_unwind(|| live_through(seed)) {
            panic!("seed {seed}: {:?}", panic.downcast_ref::<String>());
        }
    }
}
