//! Read-ahead: keeps the disk at work in the pass's known order, so that the pass seldom waits.
//!
//! Passes need slabs in one fixed cycle. A cursor runs through those that have to be read, ahead of the pass, across
//! layers, under the output head and around into the next pass, and asks the reader for each as long as there are
//! slots. A pinned slab is read when the cursor first comes to it and never again.
//!
//! Deliberately absent: threads (the reader has them) and any wait that is not for a read under way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::io::{ReadDone, ReadRequest, Reader};
use crate::plan::Residency;
use crate::slot::Slot;
use crate::{SlabId, SlabTable, StoreError};

/// Slabs on their way into memory, and the slots that are free for more.
pub(crate) struct ReadAhead {
    reader: Box<dyn Reader>,
    /// Requests under way at once; more would not make the drive faster.
    depth: usize,
    /// The slabs that have to be read, in the order of the pass: every streamed one, and pinned ones until they are in.
    schedule: Vec<SlabId>,
    /// The next of the schedule to ask for.
    cursor: usize,
    /// Free slots for streamed slabs.
    free: Vec<Slot>,
    under_way: HashMap<SlabId, Wanted>,
    arrived: HashMap<SlabId, Slot>,
    /// What the drive has done since it was last asked for.
    work: DriveWork,
    /// Up to when the drive's time has been counted.
    counted_until: Option<Instant>,
}

/// What the drive has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DriveWork {
    pub(crate) bytes: u64,
    /// Time during which at least one request was under way.
    pub(crate) busy: Duration,
}

/// Whether a slab under way is still wanted when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Yes,
    /// The pass has turned elsewhere since.
    No,
}

/// Why a slab cannot be taken.
pub(crate) enum TakeError {
    /// Its read failed.
    Read(std::io::Error),
    /// There is no memory for it.
    Memory(StoreError),
}

impl From<StoreError> for TakeError {
    fn from(error: StoreError) -> TakeError {
        TakeError::Memory(error)
    }
}

/// What read-ahead works on: where the slabs are, and which of them stay in memory.
#[derive(Clone, Copy)]
pub(crate) struct Slabs<'a> {
    pub(crate) table: &'a SlabTable,
    pub(crate) residency: &'a [Residency],
}

impl ReadAhead {
    /// Begins with nothing in memory. `slots` are for streamed slabs: at least two if there are such.
    pub(crate) fn new(slabs: Slabs, reader: Box<dyn Reader>, depth: usize, slots: Vec<Slot>) -> ReadAhead {
        ReadAhead {
            reader,
            depth,
            schedule: slabs.table.ids().collect(),
            cursor: 0,
            free: slots,
            under_way: HashMap::new(),
            arrived: HashMap::new(),
            work: DriveWork::default(),
            counted_until: None,
        }
    }

    /// Takes a slab that has arrived, or waits for it. The slot of a streamed slab has to come back by `give_back`.
    ///
    /// Errors: its read failed; it can be asked for again.
    pub(crate) fn take(&mut self, slabs: Slabs, id: SlabId) -> Result<Slot, TakeError> {
        loop {
            if let Some(slot) = self.arrived.remove(&id) {
                self.forget_if_pinned(slabs, id);
                return Ok(slot);
            }
            if !self.under_way.contains_key(&id) {
                self.turn_to(slabs, id);
            }
            self.fill(slabs)?;
            assert!(!self.under_way.is_empty(), "a slot is free for every slab that is not in use");
            let done = self.reader.wait();
            let failed = self.arrive(slabs, done);
            if let Some((slab, source)) = failed
                && slab == id
            {
                return Err(TakeError::Read(source));
            }
        }
    }

    /// What the drive has done since this was last asked.
    pub(crate) fn take_work(&mut self) -> DriveWork {
        std::mem::take(&mut self.work)
    }

    /// Whether a slab can be taken without waiting.
    pub(crate) fn has(&mut self, slabs: Slabs, id: SlabId) -> bool {
        while let Some(done) = self.reader.try_wait() {
            // A failed read is found out when its slab is needed.
            let _ = self.arrive(slabs, done);
        }
        self.arrived.contains_key(&id)
    }

    /// Takes back the slot of a streamed slab and puts it to use.
    pub(crate) fn give_back(&mut self, slabs: Slabs, slot: Slot) {
        self.free.push(slot);
        // Without memory for another pinned slab, the pass will ask for it and hear of that.
        let _ = self.fill(slabs);
    }

    /// Asks for slabs in order while there are slots and the drive could use more requests.
    pub(crate) fn fill(&mut self, slabs: Slabs) -> Result<(), StoreError> {
        while self.under_way.len() < self.depth {
            let Some(&id) = self.schedule.get(self.cursor) else { break };
            // The cursor has come around to a slab that the pass has yet to use.
            if self.under_way.contains_key(&id) || self.arrived.contains_key(&id) {
                break;
            }
            let slab = slabs.table.get(id);
            let slot = match slabs.residency[id.index()] {
                Residency::Pinned => Slot::new(slab.len)?,
                Residency::Streamed => match self.free.pop() {
                    Some(slot) => slot,
                    None => break,
                },
            };
            self.submit(id, slab.offset, slab.len, slot);
            self.cursor = (self.cursor + 1) % self.schedule.len();
        }
        Ok(())
    }

    fn submit(&mut self, id: SlabId, offset: u64, len: usize, mut slot: Slot) {
        let span = slot.fill_for(offset, len);
        self.under_way.insert(id, Wanted::Yes);
        self.reader.submit(ReadRequest { slab: id, span, slot });
    }

    /// Files a slot that is done; names the slab and the error if its read failed.
    fn arrive(&mut self, slabs: Slabs, done: ReadDone) -> Option<(SlabId, std::io::Error)> {
        let ReadDone { slab, slot, result, time } = done;
        // Requests overlap, and end nearly in the order in which they are filed.
        let from = self.counted_until.map_or(time.start, |until| until.max(time.start));
        self.work.busy += time.end.saturating_duration_since(from);
        self.counted_until = Some(self.counted_until.map_or(time.end, |until| until.max(time.end)));
        let wanted = self.under_way.remove(&slab).unwrap_or(Wanted::No);
        let streamed = slabs.residency[slab.index()] == Residency::Streamed;
        if result.is_ok() {
            self.work.bytes += slabs.table.get(slab).len as u64;
        }
        match result {
            // What is pinned is of use in any case.
            Ok(()) if wanted == Wanted::Yes || !streamed => {
                self.arrived.insert(slab, slot);
            }
            _ if streamed => self.free.push(slot),
            _ => {}
        }
        result.err().map(|error| (slab, error))
    }

    /// Goes on from a slab that the pass asks for out of turn: at its beginning, or after a failure.
    fn turn_to(&mut self, slabs: Slabs, id: SlabId) {
        let streamed = |id: &SlabId| slabs.residency[id.index()] == Residency::Streamed;
        let abandoned: Vec<SlabId> = self.arrived.keys().filter(|id| streamed(id)).copied().collect();
        self.free.extend(abandoned.iter().filter_map(|id| self.arrived.remove(id)));
        self.under_way.values_mut().for_each(|wanted| *wanted = Wanted::No);
        self.cursor = self.schedule.partition_point(|s| *s < id) % self.schedule.len().max(1);
    }

    /// A pinned slab has been taken for good and is not read again.
    fn forget_if_pinned(&mut self, slabs: Slabs, id: SlabId) {
        if slabs.residency[id.index()] == Residency::Streamed {
            return;
        }
        if let Ok(at) = self.schedule.binary_search(&id) {
            self.schedule.remove(at);
            if at < self.cursor {
                self.cursor -= 1;
            }
            if self.cursor >= self.schedule.len() {
                self.cursor = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    /// A disk in memory that finishes requests in an order of its own and fails some of them.
    struct FakeDisk {
        seed: u64,
        under_way: Vec<ReadRequest>,
        /// Fails reads of this slab while the count lasts.
        broken: Option<(SlabId, usize)>,
    }

    impl FakeDisk {
        fn pick(&mut self) -> usize {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.seed >> 33) as usize % self.under_way.len()
        }
    }

    impl Reader for FakeDisk {
        fn submit(&mut self, request: ReadRequest) {
            self.under_way.push(request);
        }

        fn try_wait(&mut self) -> Option<ReadDone> {
            let ready = !self.under_way.is_empty() && self.seed.is_multiple_of(3);
            ready.then(|| self.wait())
        }

        fn wait(&mut self) -> ReadDone {
            let at = self.pick();
            let ReadRequest { slab, span, mut slot } = self.under_way.swap_remove(at);
            for (i, byte) in slot.target(span).iter_mut().enumerate() {
                *byte = byte_at(span.offset + i as u64);
            }
            let result = match &mut self.broken {
                Some((broken, left)) if *broken == slab && *left > 0 => {
                    *left -= 1;
                    Err(Error::from(ErrorKind::Other))
                }
                _ => Ok(()),
            };
            ReadDone { slab, slot, result, time: Instant::now()..Instant::now() }
        }
    }

    fn byte_at(offset: u64) -> u8 {
        ((offset * 31) >> 3) as u8
    }

    /// A table of odd lengths of which every third slab is pinned, and its read-ahead with `n_slots` slots.
    fn setup(seed: u64, n_slots: usize, broken: Option<(usize, usize)>) -> (SlabTable, Vec<Residency>, ReadAhead) {
        let lens: Vec<usize> = (0..40).map(|i| 3000 + 517 * (i % 7)).collect();
        let table = SlabTable::of_lens(&lens);
        let residency: Vec<_> =
            (0..40).map(|i| if i % 3 == 0 { Residency::Pinned } else { Residency::Streamed }).collect();
        let broken = broken.map(|(slab, times)| (table.ids().nth(slab).unwrap(), times));
        let disk = FakeDisk { seed, under_way: Vec::new(), broken };
        let slots = (0..n_slots).map(|_| Slot::new(7000).unwrap()).collect();
        let slabs = Slabs { table: &table, residency: &residency };
        let read_ahead = ReadAhead::new(slabs, Box::new(disk), n_slots.saturating_sub(1).max(1), slots);
        (table, residency, read_ahead)
    }

    /// Takes a slab as a pass does, checks its bytes and gives its slot back; pinned ones are kept.
    fn visit(read_ahead: &mut ReadAhead, slabs: Slabs, kept: &mut HashMap<SlabId, Slot>, id: SlabId) -> bool {
        if kept.contains_key(&id) {
            return true;
        }
        let Ok(slot) = read_ahead.take(slabs, id) else { return false };
        let slab = slabs.table.get(id);
        let expected: Vec<u8> = (0..slab.len as u64).map(|i| byte_at(slab.offset + i)).collect();
        assert!(slot.slab() == expected, "{id:?} has other bytes");
        match slabs.residency[id.index()] {
            Residency::Pinned => assert!(kept.insert(id, slot).is_none()),
            Residency::Streamed => read_ahead.give_back(slabs, slot),
        }
        true
    }

    #[test]
    fn passes_see_the_right_bytes_whatever_the_disk_does_first() {
        for seed in 0..50 {
            for n_slots in [2, 3, 6] {
                let (table, residency, mut read_ahead) = setup(seed, n_slots, None);
                let slabs = Slabs { table: &table, residency: &residency };
                let mut kept = HashMap::new();
                for _ in 0..3 {
                    assert!(table.ids().all(|id| visit(&mut read_ahead, slabs, &mut kept, id)));
                }
                assert_eq!(kept.len(), 14);
            }
        }
    }

    #[test]
    fn every_byte_is_read_once_a_pass() {
        let (table, residency, mut read_ahead) = setup(1, 4, None);
        let slabs = Slabs { table: &table, residency: &residency };
        let mut kept = HashMap::new();
        let all: u64 = table.all().iter().map(|s| s.len as u64).sum();
        let streamed = table.all().iter().zip(&residency).filter(|(_, r)| **r == Residency::Streamed);
        let streamed: u64 = streamed.map(|(s, _)| s.len as u64).sum();
        for _ in 0..5 {
            assert!(table.ids().all(|id| visit(&mut read_ahead, slabs, &mut kept, id)));
        }
        let ahead = 4 * 7000;
        let read = read_ahead.take_work().bytes;
        let expected = all + 4 * streamed;
        assert!((expected..=expected + ahead).contains(&read), "{read} read, {expected} needed");
    }

    #[test]
    fn a_pass_may_begin_anywhere_and_turn_back() {
        for seed in 0..50 {
            let (table, residency, mut read_ahead) = setup(seed, 3, None);
            let slabs = Slabs { table: &table, residency: &residency };
            let ids: Vec<_> = table.ids().collect();
            let mut kept = HashMap::new();
            for at in [0, 1, 2, 20, 21, 5, 39, 0, 38, 7, 7, 7, 30, 31, 32] {
                assert!(visit(&mut read_ahead, slabs, &mut kept, ids[at]));
            }
        }
    }

    #[test]
    fn a_failed_read_is_an_error_once_and_the_next_try_finds_the_slab() {
        for seed in 0..50 {
            for broken in [0, 1, 2, 17, 18, 39] {
                let (table, residency, mut read_ahead) = setup(seed, 3, Some((broken, 2)));
                let slabs = Slabs { table: &table, residency: &residency };
                let mut kept = HashMap::new();
                let mut failures = 0;
                for _ in 0..4 {
                    // A pass ends at its first error, and the next begins at the beginning.
                    let failed = table.ids().find(|id| !visit(&mut read_ahead, slabs, &mut kept, *id));
                    assert!(failed.is_none_or(|id| id.index() == broken), "{failed:?}");
                    failures += usize::from(failed.is_some());
                }
                assert!(failures <= 2, "{failures} failures of two broken reads");
                assert!(table.ids().all(|id| visit(&mut read_ahead, slabs, &mut kept, id)));
            }
        }
    }
}
