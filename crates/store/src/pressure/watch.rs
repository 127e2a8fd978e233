//! When to look, and at what.

use std::time::{Duration, Instant};

use super::decision::{Decision, Observation, StepDown, floor};
use super::system::System;

/// A program that takes 1 GiB/s of memory takes 200 MiB meanwhile, which is less than the floor of a machine of 16 GiB.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Where less than [`NEAR_FLOORS`] floors are left, somebody who takes 100 MiB/s would be through a small group's floor
/// between two such looks; at this pace looking takes a seven-hundredth of the time.
const LOOK_OFTEN: Duration = Duration::from_millis(20);
const NEAR_FLOORS: u64 = 4;

/// Loading takes longer than to look once for so many bytes: at 5 GB/s, 800 µs against 30 µs.
const LOOK_EVERY_BYTES: u64 = 4 << 20;

/// Looks at the system at times and tells when to keep less.
pub(crate) struct Watch {
    system: System,
    decision: Decision,
    next: Option<Next>,
}

/// What makes the next look due: a time, or so much pinned.
struct Next {
    at: Instant,
    pinned_bytes: u64,
}

impl Watch {
    /// A watch on the system that this process runs on.
    pub(crate) fn new() -> Watch {
        Watch { system: System::new(), decision: Decision::default(), next: None }
    }

    /// How many bytes of pins to give up now, and why; `pinned_bytes` is what is pinned at this moment.
    ///
    /// To be called for every slab: most calls compare two numbers and return.
    pub(crate) fn poll(&mut self, now: Instant, pinned_bytes: u64) -> Option<StepDown> {
        if self.next.as_ref().is_some_and(|next| now < next.at && pinned_bytes < next.pinned_bytes) {
            return None;
        }
        let seen = self.system.look();
        self.next = Some(Next::after(now, &seen, pinned_bytes));
        self.decision.weigh(now, seen, pinned_bytes)
    }
}

impl Next {
    /// While weights are loaded it is this program that takes the most, and may take several GB/s. So half a floor more
    /// of them is looked at without waiting, lest they run through all of it.
    fn after(now: Instant, seen: &Observation, pinned_bytes: u64) -> Next {
        let near = seen.room.as_ref().is_some_and(|room| room.available < NEAR_FLOORS * floor(room));
        let growth = seen.room.as_ref().map_or(u64::MAX, |room| (floor(room) / 2).max(LOOK_EVERY_BYTES));
        Next { at: now + if near { LOOK_OFTEN } else { LOOK_EVERY }, pinned_bytes: pinned_bytes.saturating_add(growth) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::room::Room;

    #[test]
    fn a_watch_with_nothing_pinned_asks_for_nothing() {
        let mut watch = Watch::new();
        let start = Instant::now();
        for ms in (0..2000).step_by(50) {
            assert_eq!(watch.poll(start + Duration::from_millis(ms), 0), None);
        }
    }

    #[test]
    fn a_look_is_due_after_a_time_and_after_half_a_floor() {
        let now = Instant::now();
        let next_with = |available, total| {
            let seen = Observation { room: Some(Room { available, total }), ..Observation::default() };
            Next::after(now, &seen, 1000)
        };
        let next = |total| next_with(total / 2, total);
        assert_eq!(next(16 << 30).at, now + LOOK_EVERY);
        assert_eq!(next_with(1 << 29, 16 << 30).at, now + LOOK_OFTEN);
        assert_eq!(next(16 << 30).pinned_bytes, (128 << 20) + 1000);
        assert_eq!(next(300 << 20).pinned_bytes, LOOK_EVERY_BYTES + 1000);
        assert_eq!(Next::after(now, &Observation::default(), 1000).pinned_bytes, u64::MAX);
    }
}
