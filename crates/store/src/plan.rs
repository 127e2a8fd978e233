//! The residency plan: from sizes and a budget to what stays in memory. Pure, so that it can be tested and shown.
//!
//! Passes use their weights in a fixed cycle, over which an LRU cache smaller than the cycle never hits. So a fixed part is
//! pinned and the rest is streamed through a few slots. Pins are spread evenly through the pass, so that the disk is always
//! busy. They are ordered so that when the last are given up, those that are left are spread evenly as well: a long prompt
//! borrows their memory, and memory pressure takes it.

use crate::size;
use crate::slab::{SlabId, SlabTable};
use crate::slot::slot_bytes;

/// Requests in flight at once unless another number was measured. Four of 256 KiB and more saturate most drives.
pub(crate) const DEPTH: usize = 4;

/// Slots besides one for every request in flight: one in use, one waiting to be used.
const MORE_SLOTS: usize = 2;

/// The slots of more requests take at most this part of what is left for weights.
const DEEP_PART: u64 = 32;

/// Fewest slots: one in use while the next is filled.
pub(crate) const MIN_SLOTS: usize = 2;

/// Slots that stand by, without memory, if all weights are kept: pins that have to go later are streamed through them. There
/// are fewer if all pins together do not have as much memory.
const STANDBY_SLOTS: usize = 4;

/// The budget, and what is spent before the first weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Memory that the program may use, in bytes.
    pub limit_bytes: u64,
    /// The KV cache at its full context.
    pub kv_bytes: u64,
    /// Tokenizer, small vectors, the program itself and the activations of a few tokens.
    pub fixed_bytes: u64,
    /// The further activations of a long prompt, for which weights make room while it is prefilled.
    pub lent_bytes: u64,
}

/// How the memory for weights is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// What is kept between passes.
    pub policy: CachePolicy,
    /// Requests in flight at once, as measured by [`crate::WeightStore::measure_depth`]; `None` for a good guess.
    pub depth: Option<usize>,
}

/// What is kept between passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// A fixed part of the weights.
    #[default]
    Pin,
    /// What was used last. Over a cycle larger than itself, an LRU cache never has what is needed next; this exists to show
    /// it.
    Lru,
}

/// Where a slab is between passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// In memory from its first use on, in a slot to itself.
    Pinned,
    /// In memory until its slot is needed for another: slots are shared by recency of use.
    Cached,
    /// Read in every pass that needs it.
    Streamed,
}

/// What is in memory and what a pass reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidencyPlan {
    /// The budget that the plan is for.
    pub budget: Budget,
    /// All weights that a pass may need.
    pub weights_bytes: u64,
    /// The part of them that is pinned.
    pub pinned_bytes: u64,
    /// The part of them that is read in every pass.
    pub streamed_bytes_per_pass: u64,
    /// Memory of shared slots: for slabs being read, and for those that are cached.
    pub slots_bytes: u64,
    /// The smallest limit that a plan exists for.
    pub minimum_budget_bytes: u64,
    /// The residency of each slab, by its index.
    pub residency: Vec<Residency>,
    /// The pinned slabs; the last are given up first.
    pub(crate) pins: Vec<SlabId>,
    /// Memory of the slots of all pins, in bytes.
    homes_bytes: u64,
    /// Unused budget, in bytes: what rounding leaves, or what exceeds all weights.
    pub(crate) spare_bytes: u64,
    /// Shared slots; none if all slabs are pinned.
    n_slots: usize,
    /// Length of the largest slab, in bytes.
    pub slot_len: usize,
    /// Requests in flight at once.
    pub depth: usize,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The limit is below the smallest that works.
    #[error(
        "a budget of {} is too small for this model: it needs at least {} ({} fixed, {} KV cache, {} for weights \
         being read); use --memory-budget {} or a smaller --ctx",
        size::show(.budget.limit_bytes), size::show(*.minimum_budget_bytes), size::show(.budget.fixed_bytes + .budget.lent_bytes),
        size::show(.budget.kv_bytes), size::show(*.slots_bytes), size::flag(*.minimum_budget_bytes)
    )]
    TooSmall {
        /// The budget that was asked for.
        budget: Budget,
        /// The least memory for shared slots.
        slots_bytes: u64,
        /// The smallest limit that works.
        minimum_budget_bytes: u64,
    },
}

/// Decides what stays in memory.
///
/// All weights are pinned if they fit. If not, slots for read-ahead come first and pins get what is left.
/// Errors: the limit does not hold the KV cache, the fixed part, a long prompt's activations and two slots.
pub fn plan(slabs: &SlabTable, budget: Budget, options: PlanOptions) -> Result<ResidencyPlan, PlanError> {
    let PlanOptions { policy, depth } = options;
    let costs: Vec<u64> = slabs.all().iter().map(|s| slot_bytes(s.len) as u64).collect();
    let slot_len = slabs.all().iter().map(|s| s.len).max().unwrap_or(0);
    let slot = slot_bytes(slot_len) as u64;
    let all = costs.iter().sum::<u64>();
    let spent = budget.kv_bytes + budget.fixed_bytes;
    let minimum_slots_bytes = MIN_SLOTS as u64 * slot;
    let minimum_budget_bytes = spent + (budget.lent_bytes + minimum_slots_bytes).min(all + budget.lent_bytes);
    if budget.limit_bytes < minimum_budget_bytes {
        return Err(PlanError::TooSmall { budget, slots_bytes: minimum_slots_bytes, minimum_budget_bytes });
    }
    let left = budget.limit_bytes - spent;
    // Only what fits beside the loan needs no slots.
    let room = left.saturating_sub(budget.lent_bytes);
    let n_slots = match policy {
        _ if all + budget.lent_bytes <= left => 0,
        CachePolicy::Pin => affordable_slots(room, slot, depth.unwrap_or(DEPTH)),
        // An LRU cache consists of shared slots.
        CachePolicy::Lru => count(room / slot).max(MIN_SLOTS),
    };
    let pins = match policy {
        CachePolicy::Pin => pin_evenly(slabs, &costs, left - n_slots as u64 * slot),
        CachePolicy::Lru if n_slots == 0 => slabs.ids().collect(),
        CachePolicy::Lru => Vec::new(),
    };
    let weights_bytes = slabs.all().iter().map(|s| s.len as u64).sum();
    let pinned_bytes = pins.iter().map(|id| slabs.get(*id).len as u64).sum();
    let homes_bytes = pins.iter().map(|id| costs[id.index()]).sum();
    let others = if policy == CachePolicy::Lru { Residency::Cached } else { Residency::Streamed };
    let mut residency = vec![others; costs.len()];
    pins.iter().for_each(|id| residency[id.index()] = Residency::Pinned);
    Ok(ResidencyPlan {
        budget,
        weights_bytes,
        pinned_bytes,
        streamed_bytes_per_pass: weights_bytes - pinned_bytes,
        slots_bytes: n_slots as u64 * slot,
        minimum_budget_bytes,
        residency,
        pins,
        homes_bytes,
        spare_bytes: left - homes_bytes - n_slots as u64 * slot,
        n_slots,
        slot_len,
        depth: if n_slots == 0 { DEPTH } else { depth.unwrap_or(DEPTH).min(n_slots - 1) },
    })
}

impl ResidencyPlan {
    /// Whether all weights stay in memory.
    pub fn fits(&self) -> bool {
        self.n_slots == 0
    }

    /// Whether the shared slots keep their memory from the beginning to the end.
    pub(crate) fn keeps_its_slots(&self) -> bool {
        !self.fits() && !self.has_cached()
    }

    /// Slots that read-ahead needs.
    pub(crate) fn window(&self) -> usize {
        self.depth + MORE_SLOTS
    }

    /// Whether slots keep slabs between passes.
    fn has_cached(&self) -> bool {
        self.residency.contains(&Residency::Cached)
    }

    /// Most memory that slabs may take.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.slots_bytes + self.homes_bytes
    }

    /// Least memory that slabs take, however much is lent or given up.
    #[cfg(test)]
    pub(crate) fn least_memory_bytes(&self) -> u64 {
        let n_slots = if self.has_cached() { MIN_SLOTS } else { self.n_slots_or_standby() };
        (n_slots * slot_bytes(self.slot_len)) as u64
    }

    /// Shared slots, or those that stand by.
    pub(crate) fn n_slots_or_standby(&self) -> usize {
        if !self.fits() {
            return self.n_slots;
        }
        let slot = slot_bytes(self.slot_len) as u64;
        usize::try_from(self.homes_bytes / slot).unwrap_or(usize::MAX).min(STANDBY_SLOTS)
    }
}

/// As many slots as read-ahead can use, but few enough that pins get their share of `room`.
fn affordable_slots(room: u64, slot: u64, depth: usize) -> usize {
    let usual = count(room / 2 / slot).clamp(MIN_SLOTS, DEPTH + MORE_SLOTS);
    let deep = count(room / DEEP_PART / slot).min(depth + MORE_SLOTS);
    usual.max(deep)
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The slabs that fill `capacity`, in an order of which every prefix is spread evenly through the pass.
///
/// The fractional parts of the multiples of the golden ratio fill an interval evenly, and the slabs whose part is below any
/// threshold fill the pass in the same way. Source: Steinhaus' three-gap theorem; with the golden ratio the gaps differ
/// least.
fn pin_evenly(slabs: &SlabTable, costs: &[u64], capacity: u64) -> Vec<SlabId> {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut order: Vec<SlabId> = slabs.ids().collect();
    order.sort_by_key(|id| (id.index() as u64).wrapping_mul(GOLDEN));
    let mut taken = 0;
    // A slab that does not fit may be followed by one that does.
    order.retain(|id| {
        let fits = taken + costs[id.index()] <= capacity;
        taken += if fits { costs[id.index()] } else { 0 };
        fits
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const LRU: PlanOptions = PlanOptions { policy: CachePolicy::Lru, depth: None };

    fn budget(limit_bytes: u64) -> Budget {
        Budget { limit_bytes, kv_bytes: 300 << 20, fixed_bytes: 100 << 20, lent_bytes: 0 }
    }

    #[test]
    fn the_smallest_budget_that_an_error_names_works() {
        let slabs = SlabTable::of_lens(&[1 << 20; 64]);
        let Err(error @ PlanError::TooSmall { minimum_budget_bytes, .. }) =
            plan(&slabs, budget(1 << 20), PlanOptions::default())
        else {
            panic!("1 MiB is too small");
        };
        assert!(error.to_string().contains("--memory-budget 402.1M"), "{error}");
        let least = plan(&slabs, budget(minimum_budget_bytes), PlanOptions::default()).unwrap();
        assert_eq!((least.minimum_budget_bytes, least.pinned_bytes), (minimum_budget_bytes, 0));
        assert!(plan(&slabs, budget(minimum_budget_bytes - 1), PlanOptions::default()).is_err());
    }

    #[test]
    fn what_fits_is_kept_without_slots() {
        let slabs = SlabTable::of_lens(&[1 << 20; 64]);
        let plan = plan(&slabs, budget(1 << 30), PlanOptions::default()).unwrap();
        assert_eq!((plan.pinned_bytes, plan.streamed_bytes_per_pass, plan.slots_bytes), (64 << 20, 0, 0));
    }

    #[test]
    fn every_plan_stays_inside_its_budget_and_spends_it() {
        let lens: Vec<usize> = (0..200).map(|i| 300_000 + 7_919 * (i % 31)).collect();
        let slabs = SlabTable::of_lens(&lens);
        for mib in 403..=500 {
            let plan = plan(&slabs, budget(mib << 20), PlanOptions::default()).unwrap();
            let pinned = plan.residency.iter().zip(&lens).filter(|(r, _)| **r == Residency::Pinned);
            let cost: u64 = pinned.map(|(_, len)| slot_bytes(*len) as u64).sum();
            let used = cost + plan.slots_bytes + (400 << 20);
            assert!(used <= mib << 20, "{mib} MiB");
            let waste = (mib << 20) - used;
            assert!(plan.streamed_bytes_per_pass == 0 || waste < 600_000, "{mib} MiB: {waste} bytes unspent");
        }
    }

    #[test]
    fn every_beginning_of_the_pins_is_spread_evenly_through_the_pass() {
        let slabs = SlabTable::of_lens(&[1 << 20; 300]);
        for mib in [430, 470, 500, 550, 650] {
            let plan = plan(&slabs, budget(mib << 20), PlanOptions::default()).unwrap();
            for n in [plan.pins.len(), plan.pins.len() * 3 / 4, plan.pins.len() / 2] {
                let in_part = |part: usize| plan.pins[..n].iter().filter(|id| id.index() / 30 == part).count();
                let counts: Vec<usize> = (0..10).map(in_part).collect();
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 3, "{n} of {}: {counts:?}", plan.pins.len());
            }
        }
    }

    #[test]
    fn what_is_lent_is_pinned_but_can_be_given_up() {
        let slabs = SlabTable::of_lens(&[1 << 20; 300]);
        let lent = Budget { lent_bytes: 50 << 20, ..budget(500 << 20) };
        let with = plan(&slabs, lent, PlanOptions::default()).unwrap();
        let without = plan(&slabs, budget(500 << 20), PlanOptions::default()).unwrap();
        assert_eq!(with.pinned_bytes, without.pinned_bytes);
        assert_eq!(with.minimum_budget_bytes, without.minimum_budget_bytes + (50 << 20));
        let least = Budget { limit_bytes: with.minimum_budget_bytes, ..lent };
        assert!(plan(&slabs, least, PlanOptions::default()).unwrap().pinned_bytes >= 48 << 20);
    }

    #[test]
    fn an_lru_cache_gets_the_same_memory() {
        let slabs = SlabTable::of_lens(&[1 << 20; 300]);
        let lru = plan(&slabs, budget(500 << 20), LRU).unwrap();
        assert_eq!(lru.pinned_bytes, 0);
        assert!(lru.slots_bytes <= 100 << 20 && lru.slots_bytes > 98 << 20, "{}", lru.slots_bytes);
        assert!(plan(&slabs, budget(1 << 30), LRU).unwrap().fits());
    }

    #[test]
    fn more_requests_get_slots_only_where_those_are_few() {
        let slabs = SlabTable::of_lens(&[1 << 20; 3000]);
        let slots = |mib: u64, depth| {
            plan(&slabs, budget(mib << 20), PlanOptions { depth, ..PlanOptions::default() }).unwrap().n_slots
        };
        assert_eq!([slots(450, None), slots(450, Some(16))], [6, 6]);
        assert_eq!([slots(2400, None), slots(2400, Some(16)), slots(2400, Some(8))], [6, 18, 10]);
    }
}
