//! What is in memory: which slab's bytes are in which slot, and which slot the next one may have.
//!
//! A pinned slab has a slot to itself, its home, while pins are allowed that much memory. All other slabs share the
//! remaining slots. There a slab is wanted, by the pass's cycle or because it is expected, or idle: one that was read
//! ahead before the pass went elsewhere, or one that is cached between passes. Idle slabs are evicted when a slot is
//! needed, the one that has been idle longest first; a streamed slab leaves its slot as soon as it has been used.
//!
//! Deliberately absent: reading, and what will be needed next; `read_ahead` and `order` have these.

use crate::lists::Lists;
use crate::order::Wanted;
use crate::plan::{MIN_SLOTS, Residency, ResidencyPlan};
use crate::slab::{SlabId, SlabTable};
use crate::slot::{Slot, slot_bytes};

/// Slots and what is in them.
pub(crate) struct Cache {
    /// By slab: its bytes, unless they are in use.
    ready: Vec<Option<Slot>>,
    /// By slab: its bytes are in use.
    in_use: Vec<bool>,
    /// By slab: it has not been used since it was read.
    fresh: Vec<bool>,
    /// By slab: whether it has a slot to itself.
    homes: Vec<Home>,
    /// By slab: it stays in a shared slot after use.
    cached: Vec<bool>,
    has_cached: bool,
    /// The pinned slabs and where the memory of each ends, counted over all pins; the last are given up first.
    pins: Vec<(SlabId, u64)>,
    /// Where each slab's home ends, or a number that is never allowed.
    ends: Vec<u64>,
    /// Unused budget, memory lent out, and memory given up for good, in bytes.
    spare_bytes: u64,
    lent_bytes: u64,
    given_up_bytes: u64,
    /// Empty shared slots.
    free: Vec<Slot>,
    /// Slabs that are ready in shared slots, by what they are wanted for.
    shared: Lists<3>,
    /// Shared slots whose memory is lent or given up.
    retired: Vec<Slot>,
    /// Whether the shared slots take memory only once a pin has to go.
    standby: bool,
    /// Shared slots, wherever they are, and the size of each.
    n_slots: usize,
    slot_bytes: u64,
    /// Shared slots that the cycle may have besides the idle ones, so that reading ahead does not evict what is cached.
    window: usize,
    /// Bytes of pinned slabs that are in memory, and of the slots that they are in.
    pinned_bytes: u64,
    loaded_bytes: u64,
    /// Bytes of slabs that stayed in shared slots after use.
    cached_bytes: u64,
    evictions: u64,
}

enum Home {
    /// The slab has none.
    None,
    /// Its home is empty.
    Empty(Slot),
    /// Its home is being filled, ready or in use.
    Taken,
}

impl Cache {
    /// Begins with nothing in memory. `homes` are slots for the plan's pins in its order, `slots` those that are shared.
    pub(crate) fn new(table: &SlabTable, plan: &ResidencyPlan, homes: Vec<Slot>, slots: Vec<Slot>) -> Cache {
        let n = table.all().len();
        let cached: Vec<bool> = plan.residency.iter().map(|r| *r == Residency::Cached).collect();
        let has_cached = cached.contains(&true);
        let mut cache = Cache {
            ready: (0..n).map(|_| None).collect(),
            in_use: vec![false; n],
            fresh: vec![false; n],
            homes: (0..n).map(|_| Home::None).collect(),
            cached,
            has_cached,
            pins: Vec::with_capacity(homes.len()),
            ends: vec![u64::MAX; n],
            spare_bytes: plan.spare_bytes,
            lent_bytes: 0,
            given_up_bytes: 0,
            standby: plan.fits(),
            n_slots: slots.len(),
            slot_bytes: slot_bytes(plan.slot_len) as u64,
            window: if has_cached { plan.window() } else { usize::MAX },
            free: slots,
            shared: Lists::new(n),
            retired: Vec::new(),
            pinned_bytes: 0,
            loaded_bytes: 0,
            cached_bytes: 0,
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

    /// Whether a slab can be taken because it stayed in memory after an earlier use.
    pub(crate) fn has_kept(&self, id: SlabId) -> bool {
        self.has(id) && !self.fresh[id.index()]
    }

    /// Whether a slab has been taken and not been put back.
    pub(crate) fn is_in_use(&self, id: SlabId) -> bool {
        self.in_use[id.index()]
    }

    /// The slab's slot, if it is ready and not in use.
    pub(crate) fn look(&self, id: SlabId) -> Option<&Slot> {
        self.ready[id.index()].as_ref()
    }

    /// Takes a slab to be used; its slot comes back by [`Cache::put_back`].
    pub(crate) fn take(&mut self, id: SlabId) -> Option<Slot> {
        let slot = self.leave(id)?;
        self.fresh[id.index()] = false;
        self.in_use[id.index()] = true;
        Some(slot)
    }

    /// Says what a slab that is ready is wanted for.
    pub(crate) fn want(&mut self, id: SlabId, wanted: Wanted) {
        if !self.is_home(id) {
            self.shared.push_back(wanted as usize, id);
        }
    }

    /// Nothing that was read ahead is wanted any more, since the pass goes on elsewhere. The slabs that it would have
    /// needed last are evicted first.
    pub(crate) fn turn(&mut self) {
        for wanted in [Wanted::Cycle, Wanted::Expected] {
            while let Some(id) = self.shared.back(wanted as usize) {
                self.shared.push_back(Wanted::No as usize, id);
            }
        }
    }

    /// What was expected is not wanted any more.
    pub(crate) fn drop_expected(&mut self) {
        while let Some(id) = self.shared.front(Wanted::Expected as usize) {
            self.shared.push_back(Wanted::No as usize, id);
        }
    }

    /// A slot that the slab may be read into, if there is one: its home, an empty one or that of an idle slab.
    pub(crate) fn slot_for(&mut self, id: SlabId, wanted: Wanted) -> Option<Slot> {
        let allowed = self.is_allowed(id);
        let home = &mut self.homes[id.index()];
        if allowed && matches!(home, Home::Empty(_)) {
            let Home::Empty(slot) = std::mem::replace(home, Home::Taken) else { unreachable!("matched just now") };
            return Some(slot);
        }
        if wanted == Wanted::Cycle && self.n_busy() >= self.window {
            return None;
        }
        self.free.pop().or_else(|| self.evict_idle())
    }

    /// Evicts the slab that the cycle needs last of those that are ready for it.
    pub(crate) fn evict_farthest(&mut self) -> Option<(SlabId, Slot)> {
        let id = self.shared.back(Wanted::Cycle as usize)?;
        Some((id, self.evict(id)?))
    }

    /// Evicts the slab that has been expected longest.
    pub(crate) fn evict_expected(&mut self) -> Option<Slot> {
        let id = self.shared.front(Wanted::Expected as usize)?;
        self.evict(id)
    }

    /// A slab's bytes have arrived in its slot.
    pub(crate) fn arrived(&mut self, table: &SlabTable, id: SlabId, slot: Slot, wanted: Wanted) {
        if self.is_home(id) {
            self.pinned_bytes += table.get(id).len as u64;
            self.loaded_bytes += slot_bytes(table.get(id).len) as u64;
        } else if wanted == Wanted::No && (self.is_standing_by() || self.n_slots > self.allowed_slots()) {
            return self.recycle(slot);
        }
        self.fresh[id.index()] = true;
        self.ready[id.index()] = Some(slot);
        self.want(id, wanted);
    }

    /// The read into the slot has failed.
    pub(crate) fn failed(&mut self, id: SlabId, slot: Slot) {
        if self.is_home(id) { self.empty_home(id, slot) } else { self.recycle(slot) }
    }

    /// Whether the slab's slot, wherever it is, is its home.
    pub(crate) fn is_home(&self, id: SlabId) -> bool {
        matches!(self.homes[id.index()], Home::Taken)
    }

    /// Takes a slab's slot back after use.
    pub(crate) fn put_back(&mut self, table: &SlabTable, id: SlabId, slot: Slot) {
        self.in_use[id.index()] = false;
        if self.is_home(id) {
            self.ready[id.index()] = Some(slot);
            self.leave_if_not_allowed(table, id);
        } else if self.cached[id.index()] && self.n_slots <= self.allowed_slots() {
            self.cached_bytes += slot.slab().len() as u64;
            self.ready[id.index()] = Some(slot);
            self.want(id, Wanted::No);
        } else {
            self.recycle(slot);
        }
    }

    /// Leaves `bytes` of the memory to others until it is called again.
    pub(crate) fn lend(&mut self, table: &SlabTable, bytes: u64) {
        self.lent_bytes = bytes.saturating_sub(self.spare_bytes);
        self.make_room(table);
    }

    /// Leaves `bytes` of the memory in use to others for good, and with it all that is not in use yet. Returns how much
    /// that is.
    pub(crate) fn give_up(&mut self, table: &SlabTable, bytes: u64) -> u64 {
        let before = self.memory_bytes();
        let not_in_use = self.allowed_pins_bytes().saturating_sub(self.loaded_bytes);
        self.given_up_bytes += not_in_use + bytes;
        self.make_room(table);
        before.saturating_sub(self.memory_bytes())
    }

    /// Memory that slabs may take now, pinned or not, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.allowed_pins_bytes() + if self.is_standing_by() { 0 } else { self.slots_bytes() }
    }

    /// Bytes of slabs that stayed in memory after use.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.pinned_bytes + self.cached_bytes
    }

    /// How often a slab that had stayed in memory was evicted.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    fn is_standing_by(&self) -> bool {
        self.standby && self.lent_bytes + self.given_up_bytes == 0
    }

    fn slots_bytes(&self) -> u64 {
        self.n_slots as u64 * self.slot_bytes
    }

    /// Shared slots that are being filled, wanted or in use.
    fn n_busy(&self) -> usize {
        self.n_slots - self.free.len() - self.shared.len(Wanted::No as usize)
    }

    fn allowed_pins_bytes(&self) -> u64 {
        let slots = if self.standby && !self.is_standing_by() { self.slots_bytes() } else { 0 };
        self.all_pins_bytes().saturating_sub(self.lent_bytes + self.given_up_bytes + slots)
    }

    fn all_pins_bytes(&self) -> u64 {
        self.pins.last().map_or(0, |(_, end)| *end)
    }

    /// Shared slots that there may be. Pins make room first, then slots that keep slabs between passes.
    fn allowed_slots(&self) -> usize {
        if !self.has_cached {
            return usize::MAX;
        }
        let all = (self.n_slots + self.retired.len()) as u64;
        let gone = (self.lent_bytes + self.given_up_bytes).saturating_sub(self.all_pins_bytes());
        let left = all.saturating_sub(gone.div_ceil(self.slot_bytes));
        usize::try_from(left).unwrap_or(usize::MAX).max(MIN_SLOTS)
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
            let Some(slot) = self.free.pop().or_else(|| self.evict_idle()) else { break };
            self.retire(slot);
        }
        while self.n_slots < self.allowed_slots() {
            let Some(slot) = self.retired.pop() else { break };
            self.n_slots += 1;
            self.free.push(slot);
        }
        if self.is_standing_by() {
            while let Some(slot) = self.evict_idle() {
                self.free.push(slot);
            }
            self.free.iter_mut().for_each(Slot::release);
        }
    }

    /// Gives a home's memory back if its slab is there and pins are no longer allowed that much.
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

    fn evict_idle(&mut self) -> Option<Slot> {
        let id = self.shared.front(Wanted::No as usize)?;
        self.evict(id)
    }

    fn evict(&mut self, id: SlabId) -> Option<Slot> {
        self.evictions += u64::from(self.has_kept(id));
        let mut slot = self.leave(id)?;
        if slot.is_window() {
            slot.release();
        }
        Some(slot)
    }

    /// Parts a slab that is ready from the cache.
    fn leave(&mut self, id: SlabId) -> Option<Slot> {
        let slot = self.ready[id.index()].take()?;
        self.shared.remove(id);
        if !self.fresh[id.index()] && !self.is_home(id) {
            self.cached_bytes -= slot.slab().len() as u64;
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
    /// Slots that are neither in use nor being filled.
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
mod tests;
