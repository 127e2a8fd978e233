//! Reads one part of the wanted records after another, into two buffers in turn.
//!
//! While a pass computes with a part, the next one is read; when it is done with it, the part after that is requested, and
//! after the last part the first again. So the disk rests only when both buffers are full. If the next pass wants other
//! records, or some have been written since, what was read for it is dropped.

use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::time::Instant;

use crate::io::reader::{DISK_PATIENCE, ReadDone, ReadRequest, Reader};
use crate::slot::Slot;
use crate::spill::layout::Layout;
use crate::stats::ReadStats;

/// The parts that are being read and used.
pub(super) struct PartsAhead {
    layout: Layout,
    reader: Box<dyn Reader>,
    /// The wanted records of each stretch.
    wanted: Vec<Range<u32>>,
    buffers: [PartBuffer; 2],
    /// The part that the pass asks for next, and the buffer that it is in.
    next: usize,
    turn: usize,
    /// What was read for the next pass is outdated.
    is_stale: bool,
    stats: ReadStats,
    counted_until: Option<Instant>,
}

/// One part of all wanted records.
struct PartBuffer {
    /// A slot for each stretch; none while it is being read.
    slots: Vec<Option<Slot>>,
    n_in_flight: usize,
    error: Option<Error>,
}

/// One part of the records that a pass wants, in memory.
#[derive(Clone, Copy)]
pub struct SpilledPart<'a> {
    layout: &'a Layout,
    wanted: &'a [Range<u32>],
    slots: &'a [Option<Slot>],
    part: usize,
}

impl<'a> SpilledPart<'a> {
    /// The bytes of a record. Panics if the record is not wanted.
    pub fn record(&self, record: u32) -> &'a [u8] {
        let stretch = self.layout.stretch_of(record);
        let range = &self.wanted[stretch];
        assert!(range.contains(&record), "record {record} is not wanted");
        let slot = self.slots[stretch].as_ref().expect("the part has arrived");
        let at = (record - range.start) as usize * self.layout.stride(self.part);
        &slot.slab()[at..at + self.layout.part_bytes(self.part)]
    }
}

impl PartsAhead {
    /// Reads into `slots`, which are those of the layout.
    pub(super) fn new(layout: Layout, slots: Vec<Slot>, reader: Box<dyn Reader>) -> PartsAhead {
        let mut slots = slots.into_iter().map(Some);
        let mut buffer =
            || PartBuffer { slots: slots.by_ref().take(layout.n_stretches()).collect(), n_in_flight: 0, error: None };
        PartsAhead {
            wanted: layout.ranges(&[]),
            buffers: [buffer(), buffer()],
            layout,
            reader,
            next: 0,
            turn: 0,
            is_stale: false,
            stats: ReadStats::default(),
            counted_until: None,
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn stats(&self) -> ReadStats {
        self.stats
    }

    /// Begins a pass that wants these records.
    ///
    /// Errors: reads for an earlier pass do not complete.
    pub(super) fn want(&mut self, records: &[u32]) -> Result<()> {
        let wanted = self.layout.ranges(records);
        if !self.is_stale && self.next == 0 && wanted == self.wanted {
            return Ok(());
        }
        self.settle()?;
        (self.wanted, self.next, self.is_stale) = (wanted, 0, false);
        let n = self.layout.n_parts();
        self.submit(0, self.turn);
        self.submit(1 % n, 1 - self.turn);
        Ok(())
    }

    /// Waits for a part, which must be the one after that of the last call.
    ///
    /// Errors: a read failed or does not complete.
    pub(super) fn arrive(&mut self, part: usize) -> Result<SpilledPart<'_>> {
        assert_eq!(part, self.next, "parts are asked for in order");
        let start = Instant::now();
        while self.buffers[self.turn].n_in_flight > 0 {
            self.file_one()?;
        }
        self.stats.stall += start.elapsed();
        if let Some(error) = self.buffers[self.turn].error.take() {
            self.is_stale = true;
            return Err(error);
        }
        Ok(self.part())
    }

    /// The part that arrived last.
    pub(super) fn part(&self) -> SpilledPart<'_> {
        let slots = &self.buffers[self.turn].slots;
        SpilledPart { layout: &self.layout, wanted: &self.wanted, slots, part: self.next }
    }

    /// The pass is done with the part that arrived last: its buffer is filled with the part after the next.
    pub(super) fn release(&mut self) {
        let n = self.layout.n_parts();
        self.submit((self.next + 2) % n, self.turn);
        self.next = (self.next + 1) % n;
        self.turn = 1 - self.turn;
    }

    /// Waits until nothing is in flight, and drops what was read ahead, since its memory or its records are about to change.
    ///
    /// Errors: a read does not complete.
    pub(super) fn interrupt(&mut self) -> Result<()> {
        self.is_stale = true;
        self.settle()
    }

    /// Reads a part of one record, between passes.
    ///
    /// Errors: the read failed.
    pub(super) fn read_one(&mut self, part: usize, record: u32) -> Result<&[u8]> {
        let stretch = self.layout.stretch_of(record);
        self.read(part, record..record + 1, (self.turn, stretch));
        self.settle()?;
        let buffer = &mut self.buffers[self.turn];
        match buffer.error.take() {
            Some(error) => Err(error),
            None => {
                let slot = buffer.slots[stretch].as_ref().expect("nothing is being read");
                Ok(&slot.slab()[..self.layout.part_bytes(part)])
            }
        }
    }

    /// Memory for a run of records at `offset` in the file, between passes.
    pub(super) fn memory(&mut self, offset: u64, len: usize) -> &mut [u8] {
        let slot = self.buffers[0].slots[0].as_mut().expect("nothing is being read");
        let span = slot.fill_for(0, offset, len);
        slot.target(span).expect("a slot of an arena")
    }

    fn submit(&mut self, part: usize, buffer: usize) {
        for stretch in 0..self.wanted.len() {
            if !self.wanted[stretch].is_empty() {
                self.read(part, self.wanted[stretch].clone(), (buffer, stretch));
            }
        }
    }

    fn read(&mut self, part: usize, records: Range<u32>, (buffer, stretch): (usize, usize)) {
        let mut slot = self.buffers[buffer].slots[stretch].take().expect("a buffer is filled once at a time");
        let len = records.len() * self.layout.stride(part);
        let span = slot.fill_for(0, self.layout.offset(part, records.start), len);
        let tag = (buffer * self.layout.n_stretches() + stretch) as u64;
        self.reader.submit(ReadRequest { tag, span, slot });
        self.buffers[buffer].n_in_flight += 1;
    }

    /// Waits until nothing is in flight.
    fn settle(&mut self) -> Result<()> {
        while self.buffers.iter().any(|buffer| buffer.n_in_flight > 0) {
            self.file_one()?;
        }
        self.buffers.iter_mut().for_each(|buffer| buffer.error = None);
        Ok(())
    }

    /// Waits for a read and puts its slot back.
    fn file_one(&mut self) -> Result<()> {
        let Some(ReadDone { tag, slot, result, time }) = self.reader.wait(DISK_PATIENCE) else {
            self.is_stale = true;
            let seconds = DISK_PATIENCE.as_secs();
            return Err(Error::new(ErrorKind::TimedOut, format!("the disk has not responded for {seconds} seconds")));
        };
        let from = self.counted_until.map_or(time.start, |until| until.max(time.start));
        self.stats.busy += time.end.saturating_duration_since(from);
        self.counted_until = Some(self.counted_until.map_or(time.end, |until| until.max(time.end)));
        let (tag, n_stretches) = (tag as usize, self.layout.n_stretches());
        let (buffer, stretch) = (tag / n_stretches, tag % n_stretches);
        let buffer = &mut self.buffers[buffer];
        buffer.n_in_flight -= 1;
        match result {
            Ok(()) => self.stats.bytes_read += slot.slab().len() as u64,
            Err(error) => buffer.error = Some(error),
        }
        buffer.slots[stretch] = Some(slot);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_disk::{FakeDisk, Faults};

    const PARTS: [usize; 5] = [5000, 4096, 100, 70_000, 4097];
    const N_RECORDS: usize = 90;

    fn ahead(seed: u64) -> (PartsAhead, FakeDisk) {
        let disk = FakeDisk::new(seed, Faults::default());
        let layout = Layout::new(&PARTS, N_RECORDS);
        let slots = layout.slots().unwrap();
        let ahead = PartsAhead::new(layout, slots, Box::new(disk.clone()));
        (ahead, disk)
    }

    /// Runs a pass and checks every byte; returns the part at which it failed.
    fn pass(ahead: &mut PartsAhead, records: &[u32]) -> std::result::Result<(), usize> {
        ahead.want(records).map_err(|_| 0usize)?;
        for (part, &len) in PARTS.iter().enumerate() {
            let arrived = ahead.arrive(part).map_err(|_| part)?;
            for &record in records {
                let offset = Layout::new(&PARTS, N_RECORDS).offset(part, record);
                let expected: Vec<u8> = (0..len as u64).map(|i| FakeDisk::byte_at(offset + i)).collect();
                assert!(arrived.record(record) == expected, "part {part} of record {record}");
            }
            ahead.release();
        }
        Ok(())
    }

    #[test]
    fn every_part_has_its_bytes_whatever_is_wanted_next() {
        for seed in 0..6 {
            let (mut ahead, _) = ahead(seed);
            let few: Vec<u32> = (0..10).map(|i| (i * 7 + seed as u32) % 90).collect();
            let all: Vec<u32> = (0..90).collect();
            for records in [&few[..], &few, &all, &[], &few[..1], &all, &all] {
                assert_eq!(pass(&mut ahead, records), Ok(()), "seed {seed}");
            }
            // A pass that ends early, and one after records were written.
            ahead.want(&few).unwrap();
            ahead.arrive(0).unwrap();
            ahead.release();
            assert_eq!(pass(&mut ahead, &few), Ok(()));
            ahead.interrupt().unwrap();
            assert_eq!(pass(&mut ahead, &few), Ok(()));
        }
    }

    #[test]
    fn a_part_is_read_once_a_pass_and_the_next_pass_finds_its_beginning() {
        let (mut ahead, _) = ahead(1);
        let all: Vec<u32> = (0..90).collect();
        let bytes_of = |parts: &[usize]| -> u64 {
            parts.iter().map(|bytes| (bytes.next_multiple_of(4096) * N_RECORDS) as u64).sum()
        };
        for _ in 0..4 {
            pass(&mut ahead, &all).unwrap();
        }
        ahead.settle().unwrap();
        assert_eq!(ahead.stats().bytes_read, 4 * bytes_of(&PARTS) + bytes_of(&PARTS[..2]));
    }

    #[test]
    fn a_failed_read_fails_one_pass() {
        for seed in 0..6 {
            let (mut ahead, disk) = ahead(seed);
            let all: Vec<u32> = (0..90).collect();
            pass(&mut ahead, &all).unwrap();
            let bad = ahead.layout.offset(3, 40);
            disk.set_faults(Faults { bad: Some((bad..bad + 1, 1)), ..Faults::default() });
            assert_eq!(pass(&mut ahead, &all), Err(3), "seed {seed}");
            assert_eq!(pass(&mut ahead, &all), Ok(()), "seed {seed}");
        }
    }
}
