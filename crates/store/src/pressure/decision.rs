//! Decides from observations how much less to keep. Pure: the same times and observations lead to the same decisions.
//!
//! There are four reasons to keep less: little memory is left, the system swaps this process out, processes wait for memory
//! and it affects this one, or the system asks for memory. A step is a whole number of sixteenths of what is pinned. After
//! one, each reason rests until its figure can have changed, so that no shortage is answered twice.

use std::fmt;
use std::time::{Duration, Instant};

use crate::memory::room::Room;

/// A step is a whole number of units, each this part of what is pinned: small enough to cost little if a step was not
/// needed, large enough that eleven steps release half.
const UNITS: u64 = 16;

/// Memory is short when less than this part of a room is left, or less than [`FLOOR_MAX`] if that is less. A plan fills a
/// control group to 95%, so the floor is well below what that leaves.
const FLOOR_PART: u64 = 50;

/// What a program that allocates 1 GiB/s takes between two looks. The kernel does not count what it needs itself as
/// available.
const FLOOR_MAX: u64 = 256 << 20;

/// The share of the last ten seconds, in percent, from which waiting for memory counts as pressure. Neighbours that were
/// short in their control groups have been seen to bring a machine to 14, so this alone is not a reason.
const STALLED_PERCENT: f32 = 10.0;

/// Fewer faults are normal when programs start or run rarely used code.
const FAULTS_PER_SECOND: u64 = 50;

/// The system may swap out pages that have not been used for long at any time; this much between two looks is pressure.
const SWAPPED_BYTES: u64 = 1 << 20;

/// Memory is free as soon as it is released, but the pass may use it for some more steps.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the share of the last ten seconds includes time before the step.
const STALL_SETTLE: Duration = Duration::from_secs(10);

/// A guess at how soon macOS notices what was released.
const ASKED_SETTLE: Duration = Duration::from_secs(2);

/// Rates over less time than this are noise.
const MEASURED: Duration = Duration::from_millis(200);

/// No pass ran between looks that are further apart; what was swapped out meanwhile was not in use.
const IDLE: Duration = Duration::from_secs(5);

/// What one look at the system shows. What the system does not tell is `None`, and not a reason for anything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Observation {
    /// The room that is nearest to its floor.
    pub(super) room: Option<Room>,
    /// The share of the last ten seconds in which some process waited for memory, in percent.
    pub(super) stalled_percent: Option<f32>,
    /// Bytes of this process that are in swap.
    pub(super) swapped_bytes: Option<u64>,
    /// Page faults of this process that waited for a drive, since it started.
    pub(super) major_faults: Option<u64>,
    /// Number of steps that the system asks for.
    pub(super) steps_asked: u64,
}

/// An order to keep less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepDown {
    /// Bytes of pins to release, at least; never more than all. What is not pinned yet must stay so.
    pub(crate) bytes: u64,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reason {
    Short(Room),
    Swapped { bytes: u64 },
    Stalled { percent: f32 },
    Asked,
}

/// What a reason calls for: a number of bytes, and a least number of units.
struct Need {
    bytes: u64,
    units: u64,
    reason: Reason,
}

/// The history that a decision depends on.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// The look that the next ones are compared to.
    base: Option<(Instant, Observation)>,
    last_step: Option<Step>,
}

#[derive(Debug)]
struct Step {
    at: Instant,
    /// The greatest distance to the floor seen since.
    best: i64,
}

/// What has changed between two looks.
#[derive(Default)]
struct Change {
    swapped_bytes: u64,
    faults_per_second: u64,
}

impl Change {
    fn between(before: &Observation, after: &Observation, time: Duration) -> Change {
        let growth = |before: Option<u64>, after: Option<u64>| after?.checked_sub(before?);
        let faults = growth(before.major_faults, after.major_faults).unwrap_or(0);
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        Change {
            swapped_bytes: growth(before.swapped_bytes, after.swapped_bytes).unwrap_or(0),
            faults_per_second: faults.saturating_mul(1000) / ms,
        }
    }
}

impl Decision {
    /// Whether to keep less of the `pinned_bytes`, given what is seen at `now`.
    pub(super) fn weigh(&mut self, now: Instant, seen: Observation, pinned_bytes: u64) -> Option<StepDown> {
        let change = self.change_to(now, seen);
        let distance = seen.room.as_ref().map_or(i64::MAX, distance_to_floor);
        let needs = self.needs(now, &seen, &change);
        if let Some(step) = &mut self.last_step {
            step.best = step.best.max(distance);
        }
        let unit = pinned_bytes.div_ceil(UNITS);
        let units = |need: &Need| need.bytes.div_ceil(unit.max(1)).max(need.units);
        let need = needs.into_iter().flatten().max_by_key(units).filter(|_| pinned_bytes > 0)?;
        self.last_step = Some(Step { at: now, best: distance });
        Some(StepDown { bytes: units(&need).saturating_mul(unit).min(pinned_bytes), reason: need.reason })
    }

    /// What has changed since the base look, if there was time for it to change.
    fn change_to(&mut self, now: Instant, seen: Observation) -> Change {
        let (then, before) = *self.base.get_or_insert((now, seen));
        let time = now.saturating_duration_since(then);
        if time < MEASURED {
            return Change::default();
        }
        self.base = Some((now, seen));
        if time > IDLE { Change::default() } else { Change::between(&before, &seen, time) }
    }

    fn needs(&self, now: Instant, seen: &Observation, change: &Change) -> [Option<Need>; 4] {
        let since = self.last_step.as_ref().map(|step| now.saturating_duration_since(step.at));
        let rested = |rest: Duration| since.is_none_or(|since| since >= rest);
        let answered = self.last_step.as_ref().filter(|_| !rested(SETTLE)).map(|step| step.best);
        [
            seen.room.and_then(|room| short(room, answered)),
            swapped(change).filter(|_| rested(SETTLE)),
            stalled(seen, change).filter(|_| rested(STALL_SETTLE)),
            asked(seen).filter(|_| rested(ASKED_SETTLE)),
        ]
    }
}

/// Little is left: as much is released as is missing to twice the floor, so that the next page does not cause the next step.
///
/// While a step has yet to take effect, only a further fall counts, from the best distance `answered` seen since.
fn short(room: Room, answered: Option<i64>) -> Option<Need> {
    let (distance, floor) = (distance_to_floor(&room), signed(floor(&room)));
    if distance >= 0 {
        return None;
    }
    let aim = match answered {
        Some(best) if distance >= best.saturating_sub(floor / 4) => return None,
        Some(best) => best.min(floor),
        None => floor,
    };
    Some(Need { bytes: aim.abs_diff(distance), units: 1, reason: Reason::Short(room) })
}

/// As much is released as was swapped out.
fn swapped(change: &Change) -> Option<Need> {
    let bytes = change.swapped_bytes;
    (bytes > SWAPPED_BYTES).then_some(Need { bytes, units: 1, reason: Reason::Swapped { bytes } })
}

/// Some process waits for memory, and it affects this one or soon will. What affects only others may not be due to this one.
fn stalled(seen: &Observation, change: &Change) -> Option<Need> {
    let percent = seen.stalled_percent.filter(|percent| *percent >= STALLED_PERCENT)?;
    let near = seen.room.is_some_and(|room| distance_to_floor(&room) < signed(floor(&room)));
    let hurts = change.faults_per_second > FAULTS_PER_SECOND || change.swapped_bytes > 0 || near;
    hurts.then_some(Need { bytes: 0, units: 1, reason: Reason::Stalled { percent } })
}

fn asked(seen: &Observation) -> Option<Need> {
    let units = seen.steps_asked;
    (units > 0).then_some(Need { bytes: 0, units, reason: Reason::Asked })
}

/// How far a room is from its floor; negative if it is short of memory.
pub(super) fn distance_to_floor(room: &Room) -> i64 {
    signed(room.available) - signed(floor(room))
}

/// What is left in a room that is about to be short of memory.
pub(super) fn floor(room: &Room) -> u64 {
    (room.total / FLOOR_PART).min(FLOOR_MAX)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl fmt::Display for StepDown {
    /// One sentence for a warning.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "memory is short ({}); keeping {} less of the weights", self.reason, mib(self.bytes))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Reason::Short(room) => write!(f, "{} of {} left", mib(room.available), mib(room.total)),
            Reason::Swapped { bytes } => write!(f, "{} of this program swapped out", mib(*bytes)),
            Reason::Stalled { percent } => write!(f, "processes wait for it {percent:.0}% of the time"),
            Reason::Asked => write!(f, "requested by the system"),
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const PINNED: u64 = 1600 * MIB;

    /// A decision and the time that passes for it.
    struct Story {
        decision: Decision,
        now: Instant,
        pinned: u64,
    }

    impl Story {
        fn new() -> Story {
            Story { decision: Decision::default(), now: Instant::now(), pinned: PINNED }
        }

        /// The step that a look `ms` after the last one leads to, in MiB; 0 if none does.
        fn after(&mut self, ms: u64, seen: Observation) -> u64 {
            self.now += Duration::from_millis(ms);
            self.decision.weigh(self.now, seen, self.pinned).map_or(0, |step| step.bytes / MIB)
        }

        fn reason(&mut self, seen: Observation) -> String {
            self.now += Duration::from_millis(200);
            self.decision.weigh(self.now, seen, self.pinned).map_or(String::new(), |step| step.to_string())
        }
    }

    /// A machine of 8 GiB, whose floor is 163.8 MiB.
    fn left(mib: u64) -> Observation {
        Observation { room: Some(Room { available: mib * MIB, total: 8192 * MIB }), ..Observation::default() }
    }

    fn stalling(percent: f32, faults: u64) -> Observation {
        Observation { stalled_percent: Some(percent), major_faults: Some(faults), ..left(4000) }
    }

    fn in_swap(kib: u64) -> Observation {
        Observation { swapped_bytes: Some(kib * 1024), ..left(4000) }
    }

    fn asking(steps: u64) -> Observation {
        Observation { steps_asked: steps, ..Observation::default() }
    }

    #[test]
    fn floors_are_a_fiftieth_and_no_more_than_a_quarter_gib() {
        let floor = |total| floor(&Room { available: 0, total });
        assert_eq!(floor(100 * MIB), 2 * MIB);
        assert_eq!(floor(64 << 30), FLOOR_MAX);
        let full_group = Room { available: 15 * MIB, total: 300 * MIB };
        assert!(distance_to_floor(&full_group) > signed(floor(full_group.total)), "a group filled to 95% is not near");
    }

    #[test]
    fn enough_memory_is_no_reason() {
        let mut story = Story::new();
        assert_eq!(story.after(0, left(164)), 0);
        assert_eq!(story.after(200, left(8000)), 0);
        assert_eq!(story.after(200, Observation::default()), 0);
    }

    #[test]
    fn a_small_shortage_costs_whole_units_and_a_large_one_more() {
        // 177.7 MiB are missing to twice the floor, which is two units of 100.
        assert_eq!(Story::new().after(0, left(150)), 200);
        assert_eq!(Story::new().after(0, left(0)), 400);
        let mut large = Story { pinned: 32_000 * MIB, ..Story::new() };
        assert_eq!(large.after(0, left(150)), 2000);
        let mut small = Story { pinned: 60 * MIB, ..Story::new() };
        assert_eq!(small.after(0, left(150)), 60);
        let mut nothing = Story { pinned: 0, ..Story::new() };
        assert_eq!(nothing.after(0, left(0)), 0);
    }

    #[test]
    fn a_step_is_waited_for_and_repeated_only_if_it_did_not_help() {
        let mut story = Story::new();
        assert_eq!(story.after(0, left(150)), 200);
        assert_eq!(story.after(200, left(150)), 0);
        assert_eq!(story.after(200, left(120)), 0, "a fall of less than a quarter of the floor");
        assert_eq!(story.after(500, left(150)), 0);
        assert_eq!(story.after(100, left(150)), 200);
        assert_eq!(story.after(200, left(350)), 0);
        assert_eq!(story.after(60_000, left(170)), 0);
    }

    #[test]
    fn a_further_fall_is_answered_at_once_and_only_for_what_is_new() {
        let mut story = Story::new();
        assert_eq!(story.after(0, left(150)), 200);
        assert_eq!(story.after(200, left(40)), 200, "110 MiB further");
        assert_eq!(story.after(200, left(40)), 0);
        // The steps take effect, and then another program takes it all: that is new.
        assert_eq!(story.after(200, left(400)), 0);
        assert_eq!(story.after(200, left(10)), 400);
    }

    #[test]
    fn pressure_that_hurts_only_others_is_theirs() {
        let mut story = Story::new();
        for look in 0..50 {
            assert_eq!(story.after(200, stalling(80.0, 9 * look)), 0, "45 faults a second");
        }
        let unknown = Observation { stalled_percent: Some(80.0), ..Observation::default() };
        assert_eq!(story.after(200, unknown), 0);
    }

    #[test]
    fn pressure_with_faults_swap_or_little_left_is_ours() {
        let mut faults = Story::new();
        assert_eq!(faults.after(0, stalling(10.0, 1000)), 0, "the first look knows no rate");
        assert_eq!(faults.after(200, stalling(9.9, 1011)), 0);
        assert_eq!(faults.after(200, stalling(10.0, 1022)), 100);

        let mut swap = Story::new();
        let stalled = |kib| Observation { stalled_percent: Some(20.0), ..in_swap(kib) };
        assert_eq!(swap.after(0, stalled(4)), 0);
        assert_eq!(swap.after(200, stalled(8)), 100);

        let near = |mib| Observation { stalled_percent: Some(20.0), ..left(mib) };
        assert_eq!(Story::new().after(0, near(328)), 0);
        assert_eq!(Story::new().after(0, near(327)), 100);
    }

    #[test]
    fn stalls_of_before_a_step_are_not_answered_again() {
        let mut story = Story::new();
        let mut steps = Vec::new();
        for look in 0..100 {
            if story.after(200, stalling(60.0, 100 * look)) > 0 {
                steps.push(look);
            }
        }
        assert_eq!(steps, [1, 51], "one in ten seconds");
    }

    #[test]
    fn memory_that_goes_to_swap_is_given_up() {
        let mut story = Story::new();
        assert_eq!(story.after(0, in_swap(500_000)), 0, "what was there before");
        assert_eq!(story.after(200, in_swap(501_024)), 0);
        assert_eq!(story.after(200, in_swap(502_049)), 100);
        assert_eq!(story.after(200, in_swap(900_000)), 0, "the step has yet to work");
        assert_eq!(story.after(800, in_swap(1_100_000)), 200, "195 MiB");
        assert_eq!(story.after(2000, in_swap(0)), 0);
    }

    #[test]
    fn looks_in_quick_succession_add_up() {
        let mut story = Story::new();
        assert_eq!(story.after(0, in_swap(0)), 0);
        for look in 1..4 {
            assert_eq!(story.after(50, in_swap(400 * look)), 0);
        }
        assert_eq!(story.after(50, in_swap(1600)), 100);
        assert_eq!(story.after(1, left(0)), 400, "a shortage is seen at once");
    }

    #[test]
    fn what_happened_while_nobody_asked_for_a_pass_is_forgotten() {
        let mut story = Story::new();
        let seen = |n: u64| Observation { stalled_percent: Some(50.0), major_faults: Some(n), ..in_swap(n * 1024) };
        assert_eq!(story.after(0, seen(0)), 0);
        assert_eq!(story.after(3_600_000, seen(900)), 0);
        assert_eq!(story.after(200, seen(1000)), 100);
    }

    #[test]
    fn a_system_that_asks_gets_one_or_two_units_every_two_seconds() {
        let mut story = Story::new();
        assert_eq!(story.after(0, asking(1)), 100);
        assert_eq!(story.after(1900, asking(2)), 0);
        assert_eq!(story.after(100, asking(2)), 200);
        assert_eq!(story.after(2000, asking(0)), 0);
    }

    #[test]
    fn the_reason_that_calls_for_most_decides() {
        let both = Observation { steps_asked: 1, ..left(0) };
        assert_eq!(Story::new().after(0, both), 400);
        let both = Observation { steps_asked: 9, ..left(0) };
        assert_eq!(Story::new().after(0, both), 900);
    }

    #[test]
    fn every_reason_is_one_sentence() {
        let short = "memory is short (150 MiB of 8192 MiB left); keeping 200 MiB less of the weights";
        assert_eq!(Story::new().reason(left(150)), short);
        let mut story = Story::new();
        story.reason(stalling(50.0, 0));
        assert!(story.reason(stalling(33.4, 100)).contains("(processes wait for it 33% of the time)"));
        let mut story = Story::new();
        story.reason(in_swap(0));
        assert!(story.reason(in_swap(20_480)).contains("(20 MiB of this program swapped out)"));
        assert!(Story::new().reason(asking(1)).contains("(requested by the system)"));
    }

    /// Another program grows by `growth_mib` at each look until it has `most_mib`; what is given up is free `delay` looks
    /// later. Returns the steps, and what is pinned in the end.
    fn play(growth_mib: u64, most_mib: u64, delay: usize) -> (Vec<u64>, u64) {
        let (mut story, mut steps, mut under_way) = (Story::new(), Vec::new(), Vec::new());
        let mut held = PINNED / MIB;
        for look in 0..3000 {
            let others = (look as u64 * growth_mib).min(most_mib);
            let step = story.after(200, left((8192 - 4000_u64).saturating_sub(others + held)));
            story.pinned -= step * MIB;
            under_way.push(step);
            if look >= delay {
                held -= under_way[look - delay];
            }
            steps.extend((step > 0).then_some(step));
        }
        (steps, story.pinned / MIB)
    }

    #[test]
    fn steps_end_when_the_shortage_does_and_take_little_more_than_it() {
        for delay in 0..=4 {
            for (growth, most) in [(10, 3000), (200, 3000), (3000, 3000), (3000, 3600), (1, 2500)] {
                let (steps, pinned) = play(growth, most, delay);
                let at_floor = 4192 - 164 - most;
                assert!(pinned <= at_floor, "{growth} {most} {delay}: {pinned} of {at_floor}");
                // Twice the floor is aimed at; rounding to units, and one step that came too early, may add to it.
                assert!(
                    pinned + 164 + 2 * 100 >= at_floor,
                    "{growth} {most} {delay}: {pinned} of {at_floor} {steps:?}"
                );
            }
        }
    }
}
