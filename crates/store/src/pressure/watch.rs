//! When to look, and at what.

use std::time::{Duration, Instant};

use super::decision::{Decision, Observation, StepDown, floor};
use super::system::System;

/// A program that allocates 1 GiB/s takes 200 MiB meanwhile, which is less than the floor of a machine of 16 GiB.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// With less than [`NEAR_FLOORS`] floors left, a program that allocates 100 MiB/s would use up a small group's floor between
/// two looks at the usual pace; at this pace, looking takes a seven-hundredth of the time.
const LOOK_OFTEN: Duration = Duration::from_millis(20);
const NEAR_FLOORS: u64 = 4;

/// Loading this many bytes takes longer than a look: at 5 GB/s, 800 µs against 30 µs.
const LOOK_EVERY_BYTES: u64 = 4 << 20;

/// Looks at the system from time to time and says when to keep less.
pub(crate) struct Watch {
    system: System,
    decision: Decision,
    next: Option<Next>,
}

/// What makes the next look due: a time, or an amount of pinned bytes.
struct Next {
    at: Instant,
    pinned_bytes: u64,
}

impl Watch {
    /// Begins to watch the system.
    pub(crate) fn new() -> Watch {
        Watch { system: System::new(), decision: Decision::default(), next: None }
    }

    /// How many bytes of pins to give up now, and why; `pinned_bytes` is what is pinned now.
    ///
    /// Called for every slab; most calls compare two numbers and return.
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
    /// While weights are loaded, this program allocates the most, perhaps several GB/s. So the next look is due at once when
    /// half a floor more of them is in memory, before they use up all of it.
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
