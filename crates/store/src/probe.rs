//! Short measurements of the disk, which read as a pass does.

use std::cell::Cell;
use std::time::Instant;

use crate::error::StoreError;
use crate::io::reader::{DISK_PATIENCE, ReadRequest, Reader};
use crate::plan::DEPTH;
use crate::slab::{SlabId, SlabTable};
use crate::slot::{Arena, Slot};

/// Depths that are compared to the usual one. Drives up to PCIe 4.0, and Apple's, are at their ceiling with four requests of a
/// few hundred KiB; later ones need more.
const DEEPER: [usize; 2] = [8, 16];

/// How much faster a depth must be to be worth its slots' memory, which pins would have otherwise.
const WORTH: f64 = 1.1;

/// Depths take turns, this often and with this much each time, so that a disk whose speed changes changes it for all.
const TURNS: usize = 5;
const TURN_BYTES: u64 = 24 << 20;

/// Starts a reader of the given depth for these slots.
type StartReader<'a> = dyn Fn(usize, &[Slot]) -> Box<dyn Reader> + 'a;

/// What to measure with.
pub(crate) struct Probe<'a> {
    pub(crate) table: &'a SlabTable,
    /// Slabs that may be read, in the order of the pass.
    pub(crate) slabs: Vec<SlabId>,
    pub(crate) reader: Box<StartReader<'a>>,
    /// The error for a read that failed.
    pub(crate) failed: Box<dyn Fn(SlabId, std::io::Error) -> StoreError + 'a>,
}

/// A reader of one depth and its slots.
struct Turn {
    reader: Box<dyn Reader>,
    free: Vec<Slot>,
}

impl Probe<'_> {
    /// Bytes per second with `depth` requests in flight, over about `bytes` from all parts of the pass.
    pub(crate) fn rate(&self, depth: usize, bytes: u64) -> Result<f64, StoreError> {
        let all: u64 = self.slabs.iter().map(|id| self.table.get(*id).len as u64).sum();
        let every = usize::try_from(all / bytes.max(1)).unwrap_or(usize::MAX).max(1);
        let mut sample = self.slabs.iter().copied().step_by(every);
        self.turn(depth)?.read(self, &mut sample, bytes)
    }

    /// The depth to use.
    pub(crate) fn depth(&self) -> Result<usize, StoreError> {
        let depths: Vec<usize> = [DEPTH].into_iter().chain(DEEPER).collect();
        let mut turns = depths.iter().map(|depth| self.turn(*depth)).collect::<Result<Vec<_>, _>>()?;
        let mut rates = vec![Vec::new(); depths.len()];
        let at = Cell::new(0);
        let mut sample = std::iter::from_fn(|| {
            let id = self.slabs[at.get() % self.slabs.len()];
            at.set(at.get() + 1);
            Some(id)
        });
        for _ in 0..TURNS {
            for (turn, rates) in turns.iter_mut().zip(&mut rates) {
                rates.push(turn.read(self, &mut sample, TURN_BYTES)?);
            }
        }
        let medians: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
        Ok(depths[choose(&medians)])
    }

    fn turn(&self, depth: usize) -> Result<Turn, StoreError> {
        let largest = self.slabs.iter().map(|id| self.table.get(*id).len).max().unwrap_or(0);
        let free = Arena::cut((0..depth).map(|_| largest))?;
        Ok(Turn { reader: (self.reader)(depth, &free), free })
    }
}

impl Turn {
    /// Reads about `bytes` bytes of the sample; returns bytes per second.
    fn read(&mut self, probe: &Probe, sample: &mut dyn Iterator<Item = SlabId>, bytes: u64) -> Result<f64, StoreError> {
        let (start, mut asked, mut done_bytes, mut in_flight) = (Instant::now(), 0, 0, 0);
        loop {
            while asked < bytes
                && let Some(mut slot) = self.free.pop()
            {
                let Some(id) = sample.next() else {
                    self.free.push(slot);
                    asked = bytes;
                    break;
                };
                let slab = probe.table.get(id);
                let span = slot.fill_for(slab.file, slab.offset, slab.len);
                self.reader.submit(ReadRequest { tag: id.index() as u64, span, slot });
                asked += slab.len as u64;
                in_flight += 1;
            }
            if in_flight == 0 {
                return Ok(done_bytes as f64 / start.elapsed().as_secs_f64().max(1e-9));
            }
            let silent = || (probe.failed)(probe.slabs[0], std::io::Error::from(std::io::ErrorKind::TimedOut));
            let done = self.reader.wait(DISK_PATIENCE).ok_or_else(silent)?;
            in_flight -= 1;
            done_bytes += done.slot.slab().len() as u64;
            self.free.push(done.slot);
            done.result.map_err(|source| (probe.failed)(SlabId::at(done.tag as usize), source))?;
        }
    }
}

/// The index of the first rate that no later one beats by [`WORTH`].
fn choose(rates: &[f64]) -> usize {
    let worth = |than: usize| (than + 1..rates.len()).find(|i| rates[*i] > rates[than] * WORTH);
    let mut chosen = 0;
    while let Some(better) = worth(chosen) {
        chosen = better;
    }
    chosen
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_requests_have_to_be_worth_their_memory() {
        assert_eq!(choose(&[1.0, 1.05, 1.09]), 0);
        assert_eq!(choose(&[1.0, 1.3, 1.35]), 1);
        assert_eq!(choose(&[1.0, 1.05, 1.3]), 2);
        assert_eq!(choose(&[1.0, 1.2, 1.5]), 2);
        assert_eq!(choose(&[1.0, 0.5, 0.4]), 0);
    }
}
