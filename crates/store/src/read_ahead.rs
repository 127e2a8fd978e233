//! Read-ahead: keeps the disk busy in the order of the pass, so that the pass seldom waits.
//!
//! The cursor of an [`Order`] runs ahead of the pass, across layers, under the output head and around into the next pass,
//! and [`ReadAhead`] asks the reader for each slab that is not in memory, as long as there are slots. A pinned slab is read
//! when the cursor first comes to it and is in memory from then on. What the pass turns its back on stays in its slot
//! until the slot is needed.
//!
//! Deliberately absent: threads (the reader has them) and any wait other than for a read in flight.

use std::io::{Error, ErrorKind, Result};
use std::time::{Duration, Instant};

use crate::cache::Cache;
use crate::io::reader::{DISK_PATIENCE, ReadDone, ReadRequest, Reader};
use crate::order::{Order, Wanted};
use crate::slab::{SlabId, SlabTable};
use crate::slot::Slot;

/// Slabs on their way into memory.
pub(crate) struct ReadAhead {
    reader: Box<dyn Reader>,
    /// Requests in flight at once; more would not make the drive faster.
    depth: usize,
    patience: Duration,
    order: Order,
    /// A handful, so that a search is cheap.
    in_flight: Vec<InFlight>,
    /// What the drive has done since [`ReadAhead::take_work`] was last called.
    work: DriveWork,
    /// Until when the drive's time has been counted.
    counted_until: Option<Instant>,
}

/// A slab that is being read.
#[derive(Clone, Copy)]
struct InFlight {
    slab: SlabId,
    wanted: Wanted,
}

/// What the drive has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DriveWork {
    pub(crate) bytes: u64,
    /// Time during which at least one request was in flight.
    pub(crate) busy: Duration,
}

/// A slab that could not be read.
#[derive(Debug)]
struct Failed {
    slab: SlabId,
    error: Error,
}

impl ReadAhead {
    /// Begins before the first slab of a cycle, with nothing in flight.
    pub(crate) fn new(reader: Box<dyn Reader>, depth: usize, cycle: Vec<SlabId>) -> ReadAhead {
        ReadAhead {
            reader,
            depth,
            patience: DISK_PATIENCE,
            order: Order::new(cycle),
            in_flight: Vec::with_capacity(depth + 1),
            work: DriveWork::default(),
            counted_until: None,
        }
    }

    /// Replaces the cycle; the next pass is expected to begin at its first slab.
    pub(crate) fn set_cycle(&mut self, cache: &mut Cache, cycle: Vec<SlabId>) {
        self.order = Order::new(cycle);
        self.turn(cache);
    }

    /// Adds slabs that the pass needs before its cycle goes on, in this order, and begins to read them.
    ///
    /// What was expected before is dropped if the cycle has gone on without it.
    pub(crate) fn expect(&mut self, table: &SlabTable, cache: &mut Cache, slabs: &[SlabId]) {
        if self.order.expect(slabs) {
            cache.drop_expected();
            let expected = self.in_flight.iter_mut().filter(|read| read.wanted == Wanted::Expected);
            expected.for_each(|read| read.wanted = Wanted::No);
        }
        // None of those that are there may be evicted for another.
        for &id in slabs {
            if cache.has(id) {
                cache.want(id, Wanted::Expected);
            }
        }
        self.fill(table, cache);
    }

    /// Takes a slab out of the cache, reading it first or waiting for it if it must. Its slot goes back by
    /// [`Cache::put_back`], after which [`ReadAhead::fill`] puts it to use.
    ///
    /// Errors: its read failed or takes too long; it can be asked for again.
    pub(crate) fn take(&mut self, table: &SlabTable, cache: &mut Cache, id: SlabId) -> Result<Slot> {
        if self.order.jump_to(id) {
            self.turn(cache);
        }
        loop {
            if let Some(slot) = cache.take(id) {
                self.order.consume(id);
                self.fill(table, cache);
                return Ok(slot);
            }
            if self.in_flight.iter().all(|read| read.slab != id) {
                self.order.missed(id);
                let slot = self.slot_for(cache, id, Wanted::Expected).or_else(|| cache.evict_expected());
                if let Some(slot) = slot {
                    self.submit(table, id, slot, Wanted::Cycle);
                }
            }
            self.fill(table, cache);
            assert!(!self.in_flight.is_empty(), "a slot is free for every slab that is not in use");
            match self.arrive(table, cache, self.patience) {
                Some(Ok(())) => {}
                Some(Err(failed)) if failed.slab == id => return Err(failed.error),
                // It is read again when the pass comes to it.
                Some(Err(_)) => {}
                None => {
                    let problem = format!("the disk has not responded for {} seconds", self.patience.as_secs());
                    return Err(Error::new(ErrorKind::TimedOut, problem));
                }
            }
        }
    }

    /// What the drive has done since this was last called.
    pub(crate) fn take_work(&mut self) -> DriveWork {
        std::mem::take(&mut self.work)
    }

    /// Files all that has arrived, without waiting.
    pub(crate) fn look(&mut self, table: &SlabTable, cache: &mut Cache) {
        // A failed read is reported when its slab is needed.
        while self.arrive(table, cache, Duration::ZERO).is_some() {}
    }

    /// Waits until nothing is in flight, or the disk takes too long.
    pub(crate) fn settle(&mut self, table: &SlabTable, cache: &mut Cache) {
        while !self.in_flight.is_empty() && self.arrive(table, cache, self.patience).is_some() {}
    }

    /// Asks for slabs in order while there are slots and the drive can use more requests.
    pub(crate) fn fill(&mut self, table: &SlabTable, cache: &mut Cache) {
        while let Some((id, wanted)) = self.order.cursor() {
            if cache.has(id) {
                cache.want(id, wanted);
            } else if let Some(read) = self.in_flight.iter_mut().find(|read| read.slab == id) {
                read.wanted = wanted;
            } else if !cache.is_in_use(id) {
                // A second copy of a slab in use would have no slot to stay in.
                if self.in_flight.len() >= self.depth {
                    break;
                }
                let Some(slot) = self.slot_for(cache, id, wanted) else { break };
                self.submit(table, id, slot, wanted);
            }
            self.order.advance();
        }
    }

    /// A slot for a slab, if need be from a slab that the cycle needs later than one that is expected.
    fn slot_for(&mut self, cache: &mut Cache, id: SlabId, wanted: Wanted) -> Option<Slot> {
        let slot = cache.slot_for(id, wanted);
        if slot.is_some() || wanted != Wanted::Expected {
            return slot;
        }
        let (evicted, slot) = cache.evict_farthest()?;
        self.order.evicted(evicted);
        Some(slot)
    }

    fn submit(&mut self, table: &SlabTable, id: SlabId, mut slot: Slot, wanted: Wanted) {
        let slab = table.get(id);
        let span = slot.fill_for(slab.file, slab.offset, slab.len);
        self.in_flight.push(InFlight { slab: id, wanted });
        self.reader.submit(ReadRequest { tag: id.index() as u64, span, slot });
    }

    /// Files a slot whose read is complete, waiting for one at most this long.
    fn arrive(
        &mut self,
        table: &SlabTable,
        cache: &mut Cache,
        timeout: Duration,
    ) -> Option<std::result::Result<(), Failed>> {
        let ReadDone { tag, slot, result, time } = self.reader.wait(timeout)?;
        // Requests overlap, and end nearly in the order in which they are filed.
        let from = self.counted_until.map_or(time.start, |until| until.max(time.start));
        self.work.busy += time.end.saturating_duration_since(from);
        self.counted_until = Some(self.counted_until.map_or(time.end, |until| until.max(time.end)));
        let at = self.in_flight.iter().position(|read| read.slab.index() as u64 == tag);
        let InFlight { slab, wanted } = self.in_flight.swap_remove(at.expect("a reader returns what it was given"));
        match result {
            Ok(()) => {
                self.work.bytes += table.get(slab).len as u64;
                cache.arrived(table, slab, slot, wanted);
                Some(Ok(()))
            }
            Err(error) => {
                cache.failed(slab, slot);
                Some(Err(Failed { slab, error }))
            }
        }
    }

    /// The pass goes on elsewhere: what was read ahead is not wanted any more, unless the cursor comes to it again.
    fn turn(&mut self, cache: &mut Cache) {
        cache.turn();
        self.in_flight.iter_mut().for_each(|read| read.wanted = Wanted::No);
    }
}

#[cfg(test)]
mod tests;
