//! What is in memory: which slab's bytes are in which slot, and which slot the next one may have.
//!
//! A pinned slab has a slot of its own, its home, as long as pins are allowed so much memory; every other slab goes through
//! the slots that are left. Under [`CachePolicy::Pin`] these are emptied after use, under [`CachePolicy::Lru`] they keep
//! what they hold until the one that was used longest ago has to go.
//!
//! Deliberately absent: reading, and any idea of what will be needed next; [`crate::read_ahead`] has both.

use std::collections::VecDeque;

use crate::plan::{CachePolicy, MIN_SLOTS, ResidencyPlan};
use crate::slot::{Slot, slot_bytes};
use crate::{SlabId, SlabTable};

/// Slots and what is in them.
pub(crate) struct Cache {
    policy: CachePolicy,
    /// By slab: its bytes are here and nobody uses them at the moment.
    ready: Vec<Option<Slot>>,
    /// By slab: somebody uses its bytes.
    in_use: Vec<bool>,
    /// By slab: it has not been used since it was read.
    fresh: Vec<bool>,
    /// By slab: whether it has a slot of its own.
    homes: Vec<Home>,
    /// The pinned slabs and where the memory of each ends, counted over all pins; the last are given up first.
    pins: Vec<(SlabId, u64)>,
    /// Where each slab's home ends, or nothing that could ever be allowed.
    ends: Vec<u64>,
    /// Of the budget, what nobody uses, and of the memory here, what is lent to others and what has been given up for
    /// good, in bytes.
    spare_bytes: u64,
    lent_bytes: u64,
    given_up_bytes: u64,
    /// Empty slots for slabs without a home.
    free: Vec<Slot>,
    /// Slabs in such slots that have been used, the longest ago first.
    used: VecDeque<SlabId>,
    /// Slots that are not in use while their memory is lent.
    retired: Vec<Slot>,
    /// Whether the slots for slabs without a home take memory only once a pin has to go.
    standby: bool,
    /// Slots for slabs without a home, wherever they are, and how large each is.
    n_slots: usize,
    slot_bytes: u64,
    /// Bytes of pinned slabs that are in memory, and of the slots that they are in.
    pinned_bytes: u64,
    loaded_bytes: u64,
    evictions: u64,
}

enum Home {
    /// The slab has none.
    None,
    /// Its own slot, empty.
    Empty(Slot),
    /// Its own slot is on its way, ready or in use.
    Taken,
}

impl Cache {
    /// Begins with nothing in memory. `homes` are slots for the plan's pins in its order, `slots` those for all others.
    pub(crate) fn new(table: &SlabTable, plan: &ResidencyPlan, homes: Vec<Slot>, slots: Vec<Slot>) -> Cache {
        let n = table.all().len();
        let mut cache = Cache {
            policy: plan.policy,
            ready: (0..n).map(|_| None).collect(),
            in_use: vec![false; n],
            fresh: vec![false; n],
            homes: (0..n).map(|_| Home::None).collect(),
            pins: Vec::with_capacity(homes.len()),
            ends: vec![u64::MAX; n],
            spare_bytes: plan.spare_bytes,
            lent_bytes: 0,
            given_up_bytes: 0,
            standby: plan.fits(),
            n_slots: slots.len(),
            slot_bytes: slot_bytes(plan.slot_len) as u64,
            free: slots,
            used: VecDeque::new(),
            retired: Vec::new(),
            pinned_bytes: 0,
            loaded_bytes: 0,
            evictions: 0,
        };
        let mut end = 0;
        for (&id, home) in plan.pins.iter().zip(homes) {
            end += slot_bytes(table.get(id).len) as u64;
            cache.ends[id.index()] = end;
            cache.homes[id.index()] = Home::Empty(home);
            cache.pins.push((id, end));
        }
        cache
    }

    /// Whether a slab can be taken.
    pub(crate) fn has(&self, id: SlabId) -> bool {
        self.ready[id.index()].is_some()
    }

    /// Whether a slab can be taken because it was kept after it was used before.
    pub(crate) fn has_kept(&self, id: SlabId) -> bool {
        self.has(id) && !self.fresh[id.index()]
    }

    /// Whether a slab has been taken and not been put back.
    pub(crate) fn is_in_use(&self, id: SlabId) -> bool {
        self.in_use[id.index()]
    }

    /// The slab's bytes, where they are and nobody uses them.
    pub(crate) fn look(&self, id: SlabId) -> Option<&Slot> {
        self.ready[id.index()].as_ref()
    }

    /// Takes a slab to be used; its slot comes back by [`Cache::put_back`].
    pub(crate) fn take(&mut self, id: SlabId) -> Option<Slot> {
        let slot = self.ready[id.index()].take()?;
        self.used.retain(|used| *used != id);
        self.fresh[id.index()] = false;
        self.in_use[id.index()] = true;
        Some(slot)
    }

    /// Says that a slab will be needed soon, so that it is not the next to go.
    pub(crate) fn touch(&mut self, id: SlabId) {
        if let Some(at) = self.used.iter().position(|used| *used == id) {
            self.used.remove(at);
            self.used.push_back(id);
        }
    }

    /// A slot that the slab may be read into, if there is one.
    pub(crate) fn slot_for(&mut self, id: SlabId) -> Option<Slot> {
        let allowed = self.is_allowed(id);
        let home = &mut self.homes[id.index()];
        if allowed && matches!(home, Home::Empty(_)) {
            let Home::Empty(slot) = std::mem::replace(home, Home::Taken) else { unreachable!("matched just now") };
            return Some(slot);
        }
        self.free.pop().or_else(|| self.evict())
    }

    /// A slab's bytes have come into its slot.
    pub(crate) fn arrived(&mut self, table: &SlabTable, id: SlabId, slot: Slot) {
        if self.is_home(id) {
            self.pinned_bytes += table.get(id).len as u64;
            self.loaded_bytes += slot_bytes(table.get(id).len) as u64;
        }
        self.fresh[id.index()] = true;
        self.ready[id.index()] = Some(slot);
    }

    /// Nothing of use has come into the slot.
    pub(crate) fn came_to_nothing(&mut self, id: SlabId, slot: Slot) {
        if self.is_home(id) { self.empty_home(id, slot) } else { self.recycle(slot) }
    }

    /// Whether the slab's slot, wherever it is, is its own.
    pub(crate) fn is_home(&self, id: SlabId) -> bool {
        matches!(self.homes[id.index()], Home::Taken)
    }

    /// Takes a slab's slot back after use.
    pub(crate) fn put_back(&mut self, table: &SlabTable, id: SlabId, slot: Slot) {
        self.in_use[id.index()] = false;
        if self.is_home(id) {
            self.ready[id.index()] = Some(slot);
            self.leave_if_not_allowed(table, id);
        } else if self.policy == CachePolicy::Lru && self.n_slots <= self.allowed_slots() {
            self.ready[id.index()] = Some(slot);
            self.used.push_back(id);
        } else {
            self.recycle(slot);
        }
    }

    /// Forgets what has been read ahead, since the pass goes on elsewhere.
    pub(crate) fn turn(&mut self) {
        let ahead: Vec<usize> = (0..self.ready.len())
            .filter(|i| self.ready[*i].is_some() && !matches!(self.homes[*i], Home::Taken))
            .collect();
        for index in ahead {
            let id = SlabId::at(index);
            if self.used.contains(&id) {
                continue;
            }
            match self.policy {
                CachePolicy::Lru => self.used.push_back(id),
                CachePolicy::Pin => {
                    let slot = self.ready[index].take().expect("looked at just now");
                    self.recycle(slot);
                }
            }
        }
    }

    /// Leaves `bytes` of the memory to others until it is told another number.
    pub(crate) fn lend(&mut self, table: &SlabTable, bytes: u64) {
        self.lent_bytes = bytes.saturating_sub(self.spare_bytes);
        self.make_room(table);
    }

    /// Leaves `bytes` of the memory that is in use to others for good, and with it all that is not in use yet; says what
    /// it gave.
    pub(crate) fn give_up(&mut self, table: &SlabTable, bytes: u64) -> u64 {
        let before = self.memory_bytes();
        let not_in_use = self.allowed_pins_bytes().saturating_sub(self.loaded_bytes);
        self.given_up_bytes += not_in_use + bytes;
        self.make_room(table);
        before.saturating_sub(self.memory_bytes())
    }

    /// Memory that the slabs may take now, pinned or not, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.allowed_pins_bytes() + if self.is_standing_by() { 0 } else { self.slots_bytes() }
    }

    /// Bytes of slabs that lie in memory because they were used before.
    pub(crate) fn kept_bytes(&self, table: &SlabTable) -> u64 {
        self.pinned_bytes + self.used.iter().map(|id| table.get(*id).len as u64).sum::<u64>()
    }

    /// How often a slab had to go for another.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    fn is_standing_by(&self) -> bool {
        self.standby && self.lent_bytes + self.given_up_bytes == 0
    }

    fn slots_bytes(&self) -> u64 {
        self.n_slots as u64 * self.slot_bytes
    }

    fn allowed_pins_bytes(&self) -> u64 {
        let all = self.pins.last().map_or(0, |(_, end)| *end);
        let slots = if self.standby && !self.is_standing_by() { self.slots_bytes() } else { 0 };
        all.saturating_sub(self.lent_bytes + self.given_up_bytes + slots)
    }

    /// Slots that slabs without a home may have. Pins make room first; without any, slots do.
    fn allowed_slots(&self) -> usize {
        if !self.pins.is_empty() || self.policy == CachePolicy::Pin {
            return usize::MAX;
        }
        let all = (self.n_slots + self.retired.len()) as u64;
        let gone = (self.lent_bytes + self.given_up_bytes).div_ceil(self.slot_bytes);
        usize::try_from(all.saturating_sub(gone)).unwrap_or(usize::MAX).max(MIN_SLOTS)
    }

    fn is_allowed(&self, id: SlabId) -> bool {
        self.ends[id.index()] <= self.allowed_pins_bytes()
    }

    fn make_room(&mut self, table: &SlabTable) {
        for at in (0..self.pins.len()).rev() {
            let id = self.pins[at].0;
            if self.is_allowed(id) {
                break;
            }
            self.leave_if_not_allowed(table, id);
        }
        if self.n_slots > self.allowed_slots() || self.is_standing_by() {
            // What has been read ahead has to go as well.
            self.turn();
        }
        while self.n_slots > self.allowed_slots() {
            let Some(slot) = self.free.pop().or_else(|| self.evict()) else { break };
            self.retire(slot);
        }
        while self.n_slots < self.allowed_slots() {
            let Some(slot) = self.retired.pop() else { break };
            self.n_slots += 1;
            self.free.push(slot);
        }
        if self.is_standing_by() {
            while let Some(slot) = self.evict() {
                self.free.push(slot);
            }
            self.free.iter_mut().for_each(Slot::release);
        }
    }

    /// Gives a home's memory back if its slab is there and pins are no longer allowed so much.
    fn leave_if_not_allowed(&mut self, table: &SlabTable, id: SlabId) {
        if self.is_allowed(id) || !self.is_home(id) {
            return;
        }
        if let Some(slot) = self.ready[id.index()].take() {
            self.pinned_bytes -= table.get(id).len as u64;
            self.loaded_bytes -= slot_bytes(table.get(id).len) as u64;
            self.empty_home(id, slot);
        }
    }

    /// A home takes memory only while its slab is in it.
    fn empty_home(&mut self, id: SlabId, mut slot: Slot) {
        slot.release();
        self.homes[id.index()] = Home::Empty(slot);
    }

    /// Empties the slot of the slab that was used longest ago.
    fn evict(&mut self) -> Option<Slot> {
        let id = self.used.pop_front()?;
        self.evictions += 1;
        let mut slot = self.ready[id.index()].take()?;
        if slot.is_window() {
            slot.release();
        }
        Some(slot)
    }

    fn recycle(&mut self, mut slot: Slot) {
        if slot.is_window() {
            slot.release();
        }
        if self.n_slots > self.allowed_slots() { self.retire(slot) } else { self.free.push(slot) }
    }

    fn retire(&mut self, mut slot: Slot) {
        slot.release();
        self.n_slots -= 1;
        self.retired.push(slot);
    }
}

#[cfg(test)]
impl Cache {
    /// Slots that are neither in use nor on their way.
    pub(crate) fn n_slots_inside(&self) -> usize {
        let homes = self.homes.iter().filter(|home| matches!(home, Home::Empty(_))).count();
        homes + self.ready.iter().flatten().count() + self.free.len() + self.retired.len()
    }

    /// Memory of slots that have been filled and not been given back since.
    pub(crate) fn filled_bytes(&self) -> u64 {
        let homes = self.homes.iter().filter_map(|home| if let Home::Empty(slot) = home { Some(slot) } else { None });
        let all = homes.chain(self.ready.iter().flatten()).chain(&self.free).chain(&self.retired);
        all.map(|slot| slot.slab().len()).filter(|len| *len > 0).map(|len| slot_bytes(len) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Budget, PlanOptions, plan};
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
            let mut slot = cache.slot_for(id).expect("a slot is free");
            slot.fill_for(table.get(id).offset, table.get(id).len);
            cache.arrived(table, id, slot);
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
                assert_eq!(cache.kept_bytes(&table), 22 * 10_000);
            }
            // More than there is leaves what a pass cannot do without.
            cache.give_up(&table, 1 << 40);
            assert!(table.ids().all(|id| !visit(&table, &mut cache, id)), "{policy:?}");
        }
    }
}
