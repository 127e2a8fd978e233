//! A seeded disk in memory, for tests: it completes requests out of order, late, with errors or never.
//!
//! Its time is virtual: waiting moves its clock and takes none of the test's. Its faults can be changed while it is in use.

use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::io::reader::{ReadDone, ReadRequest, Reader};

/// Latency of a disk that works.
const LATENCY: Duration = Duration::from_micros(100);

/// Delay of a request that hangs, longer than any reader waits.
const HANGS: Duration = Duration::from_secs(300);

/// Faults of a disk.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    /// Reads that touch these bytes fail this many times.
    pub(crate) bad: Option<(Range<u64>, usize)>,
    /// One read in this many fails.
    pub(crate) one_in_fails: Option<usize>,
    /// One read in this many takes minutes longer.
    pub(crate) one_in_hangs: Option<usize>,
    /// Completes this many requests and no more.
    pub(crate) dies_after: Option<usize>,
    /// Every read takes twice as long as the one before, up to minutes.
    pub(crate) fades: bool,
}

/// The disk. A clone is another handle on the same one.
#[derive(Clone)]
pub(crate) struct FakeDisk(Arc<Mutex<State>>);

struct State {
    seed: u64,
    now: Duration,
    latency: Duration,
    /// With the time at which each completes.
    in_flight: Vec<(Duration, ReadRequest)>,
    faults: Faults,
}

impl FakeDisk {
    pub(crate) fn new(seed: u64, faults: Faults) -> FakeDisk {
        let state = State { seed, now: Duration::ZERO, latency: LATENCY, in_flight: Vec::new(), faults };
        FakeDisk(Arc::new(Mutex::new(state)))
    }

    /// The byte at an offset in any file.
    pub(crate) fn byte_at(offset: u64) -> u8 {
        ((offset * 31) >> 3) as u8
    }

    /// Replaces its faults.
    pub(crate) fn set_faults(&self, faults: Faults) {
        let mut state = self.0.lock().unwrap();
        (state.faults, state.latency) = (faults, LATENCY);
    }

    /// Requests that it has not completed.
    pub(crate) fn n_in_flight(&self) -> usize {
        self.0.lock().unwrap().in_flight.len()
    }

    /// The time on its clock.
    pub(crate) fn now(&self) -> Duration {
        self.0.lock().unwrap().now
    }
}

impl State {
    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize % below
    }

    fn one_in(&mut self, n: Option<usize>) -> bool {
        n.is_some_and(|n| self.random(n) == 0)
    }

    fn fails(&mut self, read: Range<u64>) -> bool {
        if let Some((bad, left)) = &mut self.faults.bad
            && *left > 0
            && bad.start < read.end
            && read.start < bad.end
        {
            *left -= 1;
            return true;
        }
        let one_in = self.faults.one_in_fails;
        self.one_in(one_in)
    }
}

impl Reader for FakeDisk {
    fn submit(&mut self, request: ReadRequest) {
        let mut state = self.0.lock().unwrap();
        assert!(state.in_flight.iter().all(|(_, r)| r.tag != request.tag), "asked for twice at once");
        if state.faults.fades {
            state.latency = (state.latency * 2).min(HANGS);
        }
        let mut takes = state.latency * state.random(8) as u32;
        let one_in = state.faults.one_in_hangs;
        if state.one_in(one_in) {
            takes += HANGS;
        }
        let due = state.now + takes;
        state.in_flight.push((due, request));
    }

    fn wait(&mut self, timeout: Duration) -> Option<ReadDone> {
        let state = &mut *self.0.lock().unwrap();
        let until = state.now + timeout.max(Duration::from_micros(50));
        let due = (0..state.in_flight.len()).min_by_key(|i| state.in_flight[*i].0);
        let Some(at) = due.filter(|i| state.in_flight[*i].0 <= until && state.faults.dies_after != Some(0)) else {
            state.now = until;
            return None;
        };
        state.faults.dies_after = state.faults.dies_after.map(|left| left - 1);
        let (due, ReadRequest { tag, span, mut slot, .. }) = state.in_flight.swap_remove(at);
        state.now = state.now.max(due);
        let target = slot.target(span).expect("a slot with memory");
        let result = if state.fails(span.offset..span.offset + span.needed as u64) {
            target.fill(0xEE);
            Err(Error::from(ErrorKind::Other))
        } else {
            target.iter_mut().zip(span.offset..).for_each(|(byte, offset)| *byte = FakeDisk::byte_at(offset));
            Ok(())
        };
        Some(ReadDone { tag, slot, result, time: Instant::now()..Instant::now() })
    }
}
