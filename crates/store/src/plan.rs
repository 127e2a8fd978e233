//! The residency plan: from sizes and a budget to what is kept in memory. Pure, so that it can be tested and shown.
//!
//! Passes read their weights in a fixed cycle, over which an LRU cache smaller than the cycle never hits. So a fixed part
//! is pinned and the rest streamed through a few slots. Pins are spread evenly through the pass: the disk then works all
//! the time, also under the pinned part.

use crate::SlabTable;
use crate::slot::slot_bytes;

/// Requests under way at once. Four of 256 KiB and more saturate the drives that we know of.
const DEPTH: usize = 4;

/// Slots for streamed slabs: one in use, one waiting for its turn, and one for every request under way.
const MAX_SLOTS: usize = DEPTH + 2;

/// One slab is in use while the next is read.
const MIN_SLOTS: usize = 2;

/// What there is to spend, and what is spent before the first weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// All that the program may use, in bytes.
    pub limit_bytes: u64,
    /// The KV cache at its full context.
    pub kv_bytes: u64,
    /// Activations, logits, tokenizer, small vectors and the program itself.
    pub fixed_bytes: u64,
}

/// Where a slab is between passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// In memory, once the first pass has read it.
    Pinned,
    /// Read again in every pass.
    Streamed,
}

/// What is in memory and what a pass reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidencyPlan {
    /// The budget that the plan obeys.
    pub budget: Budget,
    /// Weights that a pass needs.
    pub weights_bytes: u64,
    /// Of them, kept in memory.
    pub pinned_bytes: u64,
    /// Of them, read again in every pass.
    pub streamed_bytes_per_pass: u64,
    /// Memory for slabs on their way.
    pub slots_bytes: u64,
    /// The smallest limit that a plan exists for.
    pub minimum_budget_bytes: u64,
    /// Where each slab is, in the order of the pass.
    pub residency: Vec<Residency>,
    /// Slots for streamed slabs.
    pub(crate) n_slots: usize,
    /// Bytes of the largest slab.
    pub(crate) slot_len: usize,
    /// Requests under way at once.
    pub(crate) depth: usize,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The limit is below the smallest that works.
    #[error(
        "a budget of {} is too small for this model: it needs at least {} ({} fixed, {} KV cache, {} for weights on \
         their way); use --memory-budget {} or a smaller --ctx",
        show(.budget.limit_bytes), show(*.minimum_budget_bytes), show(.budget.fixed_bytes), show(.budget.kv_bytes),
        show(*.slots_bytes), flag(*.minimum_budget_bytes)
    )]
    TooSmall {
        /// What was asked for.
        budget: Budget,
        /// The least memory for slabs on their way.
        slots_bytes: u64,
        /// The smallest limit that works.
        minimum_budget_bytes: u64,
    },
}

/// Decides what is kept in memory.
///
/// All weights are kept if they fit. If not, slots for reading ahead come first and pins get what is left.
/// Errors: the limit does not even hold the KV cache, the fixed part and two slots.
pub fn plan(slabs: &SlabTable, budget: Budget) -> Result<ResidencyPlan, PlanError> {
    let slabs = slabs.all();
    let costs: Vec<u64> = slabs.iter().map(|s| slot_bytes(s.len) as u64).collect();
    let slot_len = slabs.iter().map(|s| s.len).max().unwrap_or(0);
    let slot = slot_bytes(slot_len) as u64;
    let all = costs.iter().sum::<u64>();
    let spent = budget.kv_bytes + budget.fixed_bytes;
    let minimum_slots_bytes = all.min(MIN_SLOTS as u64 * slot);
    let minimum_budget_bytes = spent + minimum_slots_bytes;
    if budget.limit_bytes < minimum_budget_bytes {
        return Err(PlanError::TooSmall { budget, slots_bytes: minimum_slots_bytes, minimum_budget_bytes });
    }
    let left = budget.limit_bytes - spent;
    let n_slots = if all <= left { 0 } else { affordable_slots(left, slot) };
    let residency = pin_evenly(&costs, left - n_slots as u64 * slot);
    let weights_bytes = slabs.iter().map(|s| s.len as u64).sum();
    let pinned = slabs.iter().zip(&residency).filter(|(_, r)| **r == Residency::Pinned);
    let pinned_bytes = pinned.map(|(s, _)| s.len as u64).sum();
    Ok(ResidencyPlan {
        budget,
        weights_bytes,
        pinned_bytes,
        streamed_bytes_per_pass: weights_bytes - pinned_bytes,
        slots_bytes: n_slots as u64 * slot,
        minimum_budget_bytes,
        residency,
        n_slots,
        slot_len,
        depth: if n_slots == 0 { DEPTH } else { DEPTH.min(n_slots - 1) },
    })
}

/// As many slots as reading ahead can use, but no more than half of what is left, so that pins get their share.
fn affordable_slots(left: u64, slot: u64) -> usize {
    let half = usize::try_from(left / 2 / slot).unwrap_or(MAX_SLOTS);
    half.clamp(MIN_SLOTS, MAX_SLOTS)
}

/// Pins slabs so that after each, the pinned share of the bytes so far is as near as it can be to the share of all, and
/// then fills what rounding has left.
fn pin_evenly(costs: &[u64], capacity: u64) -> Vec<Residency> {
    let total: u128 = costs.iter().map(|c| u128::from(*c)).sum();
    let mut residency = vec![Residency::Streamed; costs.len()];
    let (mut seen, mut pinned) = (0u64, 0u64);
    for (slab, &cost) in residency.iter_mut().zip(costs) {
        seen += cost;
        let due = u128::from(seen) * u128::from(capacity) / total.max(1);
        if u128::from(pinned + cost) <= due.min(u128::from(capacity)) {
            *slab = Residency::Pinned;
            pinned += cost;
        }
    }
    for (slab, &cost) in residency.iter_mut().zip(costs) {
        if *slab == Residency::Streamed && pinned + cost <= capacity {
            *slab = Residency::Pinned;
            pinned += cost;
        }
    }
    residency
}

/// Bytes as people say them, rounded up so that what is named works.
fn show(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes = bytes as f64;
    match bytes {
        b if b >= f64::from(1 << 30) => format!("{:.2} GiB", (b / f64::from(1 << 30) * 100.0).ceil() / 100.0),
        b => format!("{:.1} MiB", (b / f64::from(1 << 20) * 10.0).ceil() / 10.0),
    }
}

/// Bytes as the flag takes them.
fn flag(bytes: u64) -> String {
    show(bytes).replace(" GiB", "G").replace(" MiB", "M")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit_bytes: u64) -> Budget {
        Budget { limit_bytes, kv_bytes: 300 << 20, fixed_bytes: 100 << 20 }
    }

    #[test]
    fn the_smallest_budget_that_an_error_names_works() {
        let slabs = SlabTable::of_lens(&[1 << 20; 64]);
        let Err(error @ PlanError::TooSmall { minimum_budget_bytes, .. }) = plan(&slabs, budget(1 << 20)) else {
            panic!("1 MiB is too small");
        };
        assert!(error.to_string().contains("--memory-budget 402.1M"), "{error}");
        let least = plan(&slabs, budget(minimum_budget_bytes)).unwrap();
        assert_eq!((least.minimum_budget_bytes, least.pinned_bytes), (minimum_budget_bytes, 0));
        assert!(plan(&slabs, budget(minimum_budget_bytes - 1)).is_err());
    }

    #[test]
    fn what_fits_is_kept_without_slots() {
        let slabs = SlabTable::of_lens(&[1 << 20; 64]);
        let plan = plan(&slabs, budget(1 << 30)).unwrap();
        assert_eq!((plan.pinned_bytes, plan.streamed_bytes_per_pass, plan.slots_bytes), (64 << 20, 0, 0));
    }

    #[test]
    fn every_plan_stays_inside_its_budget_and_spends_it() {
        let lens: Vec<usize> = (0..200).map(|i| 300_000 + 7_919 * (i % 31)).collect();
        let slabs = SlabTable::of_lens(&lens);
        for mib in 403..=500 {
            let plan = plan(&slabs, budget(mib << 20)).unwrap();
            let pinned = plan.residency.iter().zip(&lens).filter(|(r, _)| **r == Residency::Pinned);
            let cost: u64 = pinned.map(|(_, len)| slot_bytes(*len) as u64).sum();
            let used = cost + plan.slots_bytes + (400 << 20);
            assert!(used <= mib << 20, "{mib} MiB");
            let waste = (mib << 20) - used;
            assert!(plan.streamed_bytes_per_pass == 0 || waste < 600_000, "{mib} MiB: {waste} bytes unspent");
        }
    }

    #[test]
    fn pins_are_spread_evenly_through_the_pass() {
        let slabs = SlabTable::of_lens(&[1 << 20; 300]);
        let plan = plan(&slabs, budget(500 << 20)).unwrap();
        let pinned: Vec<usize> =
            plan.residency.chunks(30).map(|c| c.iter().filter(|r| **r == Residency::Pinned).count()).collect();
        let (least, most) = (pinned.iter().min().unwrap(), pinned.iter().max().unwrap());
        assert!(most - least <= 1, "{pinned:?}");
    }
}
