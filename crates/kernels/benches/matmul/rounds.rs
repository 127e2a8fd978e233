//! Threads that do the same work in step, and the weights of each.

use std::hint::spin_loop;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// Weights of all threads together: what is read in turn has left every cache when its turn comes again.
const TOTAL_BYTES: usize = 1 << 30;

/// The least for a thread, however many there are.
const LEAST_LANE_BYTES: usize = 64 << 20;

/// A figure takes about so long.
const SECONDS: f64 = 0.3;

/// Rounds of a figure, however long one takes.
const ROUNDS: RangeInclusive<usize> = 5..=256;

/// Turns of waiting for the others after which a thread lets something else run.
const SPINS: usize = 10_000;

/// What one thread works on.
pub(crate) struct Lane {
    pub(crate) weights: Vec<u8>,
    pub(crate) out: Vec<f32>,
    /// Cycles a second of the thread's core at its fastest.
    pub(crate) hz: f64,
}

impl Lane {
    /// Weights for `n` threads, each written by its own thread, so that its memory is near.
    pub(crate) fn several(n: usize) -> Vec<Lane> {
        let bytes = (TOTAL_BYTES / n).max(LEAST_LANE_BYTES);
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..n).map(|_| scope.spawn(move || Lane::new(bytes))).collect();
            lanes.into_iter().map(|lane| lane.join().expect("filling memory does not panic")).collect()
        })
    }

    /// Varied bytes that are ordinary numbers in any format: every other one has the exponent of a number from 2^-32 on to
    /// below 1. Infinite and subnormal ones take some processors a hundred times as long.
    fn new(bytes: usize) -> Lane {
        let byte = |i: usize| {
            let varied = (i.wrapping_mul(2_654_435_761) >> 13) as u8;
            if i.is_multiple_of(2) { varied % 0x7C } else { 0x30 + varied % 0x0F }
        };
        Lane { weights: (0..bytes).map(byte).collect(), out: Vec::new(), hz: 0.0 }
    }

    /// The bytes whose turn it is.
    pub(crate) fn slab(weights: &[u8], round: usize, len: usize) -> &[u8] {
        let at = round % (weights.len() / len) * len;
        &weights[at..at + len]
    }
}

/// What a lane does in the round of this number.
pub(crate) type Work<'a> = dyn Fn(&mut Lane, usize) + Sync + 'a;

/// The least seconds that each of the works took in a round, from the first lane's beginning to the last one's end.
///
/// All lanes do the same work at the same time. The works take turns, so that what else happens on the machine happens
/// to all of them.
pub(crate) fn fastest<const N: usize>(lanes: &mut [Lane], works: [&Work; N]) -> [f64; N] {
    let first = several(lanes, 0..2, works);
    let turns = SECONDS / first.iter().sum::<f64>();
    let rounds = (turns as usize).clamp(*ROUNDS.start(), *ROUNDS.end());
    let others = several(lanes, 2..2 + rounds, works);
    std::array::from_fn(|i| first[i].min(others[i]))
}

fn several<const N: usize>(lanes: &mut [Lane], rounds: Range<usize>, works: [&Work; N]) -> [f64; N] {
    let (n_lanes, n_rounds, arrived) = (lanes.len(), rounds.len(), AtomicUsize::new(0));
    let spans: Vec<Vec<[(Instant, Instant); N]>> = thread::scope(|scope| {
        let spawn = lanes.iter_mut().map(|lane| {
            let (arrived, rounds) = (&arrived, rounds.clone());
            scope.spawn(move || {
                let mut meetings = (1..).map(|meeting| meeting * n_lanes);
                let mut span = |work: &Work, round| {
                    meet(arrived, meetings.next().unwrap_or(0));
                    let begun = Instant::now();
                    work(lane, round);
                    (begun, Instant::now())
                };
                rounds.map(|round| works.map(|work| span(work, round))).collect()
            })
        });
        let threads: Vec<_> = spawn.collect();
        threads.into_iter().map(|thread| thread.join().expect("a product does not panic")).collect()
    });
    let seconds = |round: usize, work: usize| {
        let of_lanes = || spans.iter().map(|lane| lane[round][work]);
        let begun = of_lanes().map(|(begun, _)| begun).min();
        let ended = of_lanes().map(|(_, ended)| ended).max();
        begun.zip(ended).map_or(f64::INFINITY, |(begun, ended)| (ended - begun).as_secs_f64())
    };
    std::array::from_fn(|work| (0..n_rounds).map(|round| seconds(round, work)).fold(f64::INFINITY, f64::min))
}

/// Waits until this many threads have arrived.
fn meet(arrived: &AtomicUsize, all: usize) {
    arrived.fetch_add(1, Ordering::AcqRel);
    let mut spins = 0;
    while arrived.load(Ordering::Acquire) < all {
        spins += 1;
        if spins % SPINS == 0 { thread::yield_now() } else { spin_loop() }
    }
}
