//! The cache by itself: what a pass hits, and what memory it takes.

use super::*;
use crate::plan::{Budget, CachePolicy, PlanOptions, plan};
use crate::slot::Arena;

fn setup(policy: CachePolicy, limit: usize) -> (SlabTable, Cache) {
    let table = SlabTable::of_lens(&[10_000; 40]);
    let budget = Budget { limit_bytes: limit as u64, kv_bytes: 0, fixed_bytes: 0, lent_bytes: 0 };
    let plan = plan(&table, budget, PlanOptions { policy, depth: None }).unwrap();
    let homes = Arena::cut(plan.pins.iter().map(|id| table.get(*id).len)).unwrap();
    let slots = Arena::cut((0..plan.n_slots_or_standby()).map(|_| plan.slot_len)).unwrap();
    let cache = Cache::new(&table, &plan, homes, slots);
    (table, cache)
}

/// Uses a slab as a pass does; whether it was there.
fn visit(table: &SlabTable, cache: &mut Cache, id: SlabId) -> bool {
    let hit = cache.has(id);
    if !hit {
        let mut slot = cache.slot_for(id, Wanted::Cycle).expect("a slot is free");
        slot.fill_for(0, table.get(id).offset, table.get(id).len);
        cache.arrived(table, id, slot, Wanted::Cycle);
    }
    let slot = cache.take(id).expect("it has arrived");
    cache.put_back(table, id, slot);
    hit
}

#[test]
fn pins_hit_on_a_cycle_and_lru_never_does() {
    let (table, mut cache) = setup(CachePolicy::Pin, 30 * slot_bytes(10_000));
    let hits = |cache: &mut Cache| table.ids().filter(|id| visit(&table, cache, *id)).count();
    assert_eq!([hits(&mut cache), hits(&mut cache), hits(&mut cache)], [0, 24, 24]);
    let (_, mut cache) = setup(CachePolicy::Lru, 30 * slot_bytes(10_000));
    assert_eq!([hits(&mut cache), hits(&mut cache), hits(&mut cache)], [0, 0, 0]);
    assert_eq!(cache.evictions(), 90);
}

#[test]
fn lru_hits_what_was_used_last() {
    let (table, mut cache) = setup(CachePolicy::Lru, 8 * slot_bytes(10_000));
    let ids: Vec<SlabId> = table.ids().collect();
    for i in [0, 1, 2, 3, 4, 5, 6, 7] {
        visit(&table, &mut cache, ids[i]);
    }
    assert!(visit(&table, &mut cache, ids[0]));
    visit(&table, &mut cache, ids[8]);
    assert!(!cache.has(ids[1]) && cache.has(ids[0]) && cache.has(ids[2]));
}

#[test]
fn where_all_fits_slots_stand_by_until_a_pin_has_to_go() {
    let (table, mut cache) = setup(CachePolicy::Pin, 100 * slot_bytes(10_000));
    table.ids().for_each(|id| _ = visit(&table, &mut cache, id));
    let slot = slot_bytes(10_000) as u64;
    assert_eq!(cache.memory_bytes(), 40 * slot);
    assert_eq!(cache.give_up(&table, 2 * slot), 2 * slot);
    let hits = table.ids().filter(|id| visit(&table, &mut cache, *id)).count();
    assert_eq!(hits, 40 - 2 - 4);
}

#[test]
fn what_is_lent_comes_back_and_what_is_given_up_does_not() {
    for policy in [CachePolicy::Pin, CachePolicy::Lru] {
        let slot = slot_bytes(10_000) as u64;
        let (table, mut cache) = setup(policy, 30 * slot_bytes(10_000) + 100);
        table.ids().for_each(|id| _ = visit(&table, &mut cache, id));
        let all = cache.memory_bytes();
        cache.lend(&table, 5 * slot + 100);
        assert_eq!(cache.memory_bytes(), all - 5 * slot, "{policy:?}");
        table.ids().for_each(|id| _ = visit(&table, &mut cache, id));
        assert_eq!(cache.give_up(&table, 2 * slot), 2 * slot, "{policy:?}");
        cache.lend(&table, 0);
        assert_eq!(cache.memory_bytes(), all - 2 * slot, "{policy:?}");
        table.ids().for_each(|id| _ = visit(&table, &mut cache, id));
        if policy == CachePolicy::Pin {
            assert_eq!(cache.kept_bytes(), 22 * 10_000);
        }
        // More than there is leaves what a pass cannot do without.
        cache.give_up(&table, 1 << 40);
        assert!(table.ids().all(|id| !visit(&table, &mut cache, id)), "{policy:?}");
    }
}
