//! Where the parts of records are in a spill file, and how large the reads of them are.
//!
//! The file has one run of places for each part, `[parts, records]`, so that the same part of neighbouring records is one
//! read. Every place begins at a block boundary, as direct reads and writes require. A run is divided into stretches, each
//! with its memory; a read is a part of one stretch.

use std::ops::Range;

use crate::error::StoreError;
use crate::io::span::ALIGNMENT;
use crate::slot::{Arena, Slot, slot_bytes};

/// Size of a read, about: disks are no faster with larger ones.
const STRETCH_BYTES: usize = 1 << 20;

/// The places of a spill file.
#[derive(Debug)]
pub(super) struct Layout {
    parts: Vec<Places>,
    n_records: usize,
    /// Records in a stretch.
    stretch_len: usize,
}

#[derive(Debug)]
struct Places {
    bytes: usize,
    /// Distance from one record to the next, in bytes.
    stride: usize,
    /// Offset of the first record.
    offset: u64,
}

impl Layout {
    /// A layout for `n_records` records of parts of these lengths.
    pub(super) fn new(part_bytes: &[usize], n_records: usize) -> Layout {
        let mut offset = 0;
        let part = |&bytes: &usize| {
            let stride = bytes.next_multiple_of(ALIGNMENT);
            let part = Places { bytes, stride, offset };
            offset += (n_records * stride) as u64;
            part
        };
        let parts: Vec<Places> = part_bytes.iter().map(part).collect();
        let stride = parts.iter().map(|part| part.stride).max().unwrap_or(ALIGNMENT).max(ALIGNMENT);
        let stretch_len = (STRETCH_BYTES / stride).clamp(1, n_records.max(1));
        Layout { parts, n_records, stretch_len }
    }

    pub(super) fn n_parts(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of a part without the padding of its last block.
    pub(super) fn part_bytes(&self, part: usize) -> usize {
        self.parts[part].bytes
    }

    /// Distance from a record to the next, in bytes.
    pub(super) fn stride(&self, part: usize) -> usize {
        self.parts[part].stride
    }

    /// Offset of a part of a record.
    pub(super) fn offset(&self, part: usize, record: u32) -> u64 {
        let Places { stride, offset, .. } = self.parts[part];
        offset + u64::from(record) * stride as u64
    }

    pub(super) fn n_stretches(&self) -> usize {
        self.n_records.div_ceil(self.stretch_len)
    }

    pub(super) fn stretch_of(&self, record: u32) -> usize {
        record as usize / self.stretch_len
    }

    /// Bytes of the largest stretch.
    pub(super) fn stretch_bytes(&self) -> usize {
        self.stretch_len * self.parts.iter().map(|part| part.stride).max().unwrap_or(0)
    }

    /// Memory for one part of all records, twice: two slots for each stretch.
    ///
    /// Errors: the system has no more address space.
    pub(super) fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        Arena::cut((0..2 * self.n_stretches()).map(|_| self.stretch_bytes()))
    }

    /// Bytes of the slots.
    pub(super) fn memory_bytes(&self) -> u64 {
        (2 * self.n_stretches() * slot_bytes(self.stretch_bytes())) as u64
    }

    /// For each stretch, the range from the first to the last of its records among these, or an empty range.
    pub(super) fn ranges(&self, records: &[u32]) -> Vec<Range<u32>> {
        let mut ranges = vec![0..0; self.n_stretches()];
        for &record in records {
            let range: &mut Range<u32> = &mut ranges[self.stretch_of(record)];
            *range = match range.end {
                0 => record..record + 1,
                end => range.start.min(record)..end.max(record + 1),
            };
        }
        ranges
    }

    /// Runs of consecutive records, none longer than a stretch: the index of the first one in `records`, and the length.
    pub(super) fn runs(&self, records: &[u32]) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (i, &record) in records.iter().enumerate() {
            match runs.last_mut() {
                Some((_, n)) if *n < self.stretch_len && records[i - 1] + 1 == record => *n += 1,
                _ => runs.push((i, 1)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_whole_blocks_and_share_no_byte() {
        let layout = Layout::new(&[5000, 4096, 100], 7);
        let mut places: Vec<Range<u64>> = Vec::new();
        for part in 0..3 {
            for record in 0..7 {
                let offset = layout.offset(part, record);
                assert!(offset.is_multiple_of(4096) && layout.stride(part) >= layout.part_bytes(part));
                places.push(offset..offset + layout.stride(part) as u64);
            }
        }
        assert!(places.is_sorted_by(|a, b| a.end <= b.start), "{places:?}");
    }

    #[test]
    fn stretches_cover_what_is_wanted_and_runs_what_is_written() {
        // Four records in a stretch.
        let layout = Layout::new(&[256 << 10], 11);
        assert_eq!((layout.n_stretches(), layout.stretch_bytes()), (3, 1 << 20));
        assert_eq!(layout.ranges(&[1, 3, 10]), [1..4, 0..0, 10..11]);
        assert_eq!(layout.ranges(&[0, 4, 5, 6, 7]), [0..1, 4..8, 0..0]);
        assert_eq!(layout.runs(&[0, 1, 2, 3, 4, 7, 8, 10]), [(0, 4), (4, 1), (5, 2), (7, 1)]);
        assert_eq!(Layout::new(&[], 0).memory_bytes(), 0);
    }
}
