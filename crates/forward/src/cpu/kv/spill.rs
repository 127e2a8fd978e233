//! Which pages are in memory and which in a file, where memory does not hold all.
//!
//! A page gets a place in memory when a pass writes to it. When there is none left, the oldest quarter of the pages in
//! memory spills to the file, by their positions in their sequences: what lies far back is not written again unless many
//! tokens are discarded. A page in the file is only read, layer by layer, by the passes that see it; it comes back into
//! memory when it is written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use store::{SpillFile, StoreError};

use super::memory::PageMemory;
use crate::kv::page::PageId;
use crate::kv::sequences::Sequences;
use crate::placement::Placement;

/// Of the pages in memory, this share goes to the file at once.
const SPILLED_SHARE: usize = 4;

/// Where the pages of a KV cache go that memory does not hold.
#[derive(Clone, Debug)]
pub struct KvSpill {
    /// Folder for a file, which has no name there and is gone when the program ends.
    pub folder: PathBuf,
    /// Pages that memory holds; at least those of the largest batch, and two more for each sequence.
    pub pages_in_memory: usize,
}

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was not written since it was free.
    Nowhere,
    /// In this slot of the memory.
    Memory(u32),
    /// This record of the file.
    File(u32),
}

/// Places in memory and in the file.
pub(in crate::cpu) struct Spill {
    places: Vec<Place>,
    n_slots: usize,
    free_slots: Vec<u32>,
    free_records: BTreeSet<u32>,
    pub(super) file: SpillFile,
}

impl Spill {
    /// Records that the file needs. Pages only go there when memory is full, and of those that are in use then, no more
    /// than a quarter of the memory and those that the pass brings back.
    pub(in crate::cpu) fn n_records(n_pages: usize, pages_in_memory: usize) -> usize {
        n_pages.saturating_sub(pages_in_memory / 2)
    }

    pub(super) fn new(n_pages: usize, n_slots: usize, n_records: usize, file: SpillFile) -> Spill {
        let count = |n: usize| u32::try_from(n).expect("fewer pages than 2^32");
        Spill {
            places: vec![Place::Nowhere; n_pages],
            n_slots,
            free_slots: (0..count(n_slots)).rev().collect(),
            free_records: (0..count(n_records)).collect(),
            file,
        }
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn place(&self, page: PageId) -> Place {
        self.places[page.0 as usize]
    }

    /// Brings pages into memory that are about to be written, and keeps the contents of those for which that is said.
    ///
    /// Errors: the file cannot be written or read. All pages are somewhere, and whole.
    pub(super) fn bring(
        &mut self,
        written: &[(PageId, bool)],
        sequences: &Sequences,
        memory: &mut PageMemory,
    ) -> Result<(), StoreError> {
        for (page, keeps) in written {
            if !keeps && matches!(self.place(*page), Place::File(_)) {
                self.forget(*page);
            }
        }
        let n = written.iter().filter(|(page, _)| !matches!(self.place(*page), Place::Memory(_))).count();
        self.make_room(n, written, sequences, memory)?;
        for (page, _) in written {
            if matches!(self.place(*page), Place::Memory(_)) {
                continue;
            }
            let slot = *self.free_slots.last().expect("room has been made");
            if let Place::File(record) = self.place(*page) {
                self.read(record, memory.page_mut(slot))?;
                self.forget(*page);
            }
            self.free_slots.pop();
            self.places[page.0 as usize] = Place::Memory(slot);
        }
        Ok(())
    }

    /// Begins a pass over these sequences.
    ///
    /// Errors: reads for an earlier pass do not end.
    pub(super) fn want(&mut self, placement: &Placement) -> Result<(), StoreError> {
        let pages = placement.pages.iter().flatten().filter(|page| **page != PageId::GONE);
        let record = |page: &PageId| match self.place(*page) {
            Place::File(record) => Some(record),
            Place::Memory(_) | Place::Nowhere => None,
        };
        let records: BTreeSet<u32> = pages.filter_map(record).collect();
        self.file.want(&records.into_iter().collect::<Vec<u32>>())
    }

    /// Copies a page that is not in memory to `out`.
    ///
    /// Errors: the read failed.
    pub(super) fn show(&mut self, page: PageId, out: &mut [u8]) -> Result<(), StoreError> {
        match self.place(page) {
            Place::File(record) => self.read(record, out),
            Place::Memory(_) | Place::Nowhere => unreachable!("{page:?} is not in the file"),
        }
    }

    /// Reads a page, whose layers follow one another.
    ///
    /// Errors: the read failed.
    pub(super) fn read(&mut self, record: u32, out: &mut [u8]) -> Result<(), StoreError> {
        let mut at = 0;
        self.file.read(record, |_, bytes| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        })
    }

    /// Makes sure that `n` slots are free: first those of pages that no sequence has, then by writing old ones to the file.
    fn make_room(
        &mut self,
        n: usize,
        written: &[(PageId, bool)],
        sequences: &Sequences,
        memory: &PageMemory,
    ) -> Result<(), StoreError> {
        if self.free_slots.len() >= n {
            return Ok(());
        }
        let ages = sequences.ages();
        let all = (0..self.places.len()).map(|page| PageId(page as u32));
        all.clone().filter(|page| !ages.contains_key(page)).for_each(|page| self.forget(page));
        if self.free_slots.len() >= n {
            return Ok(());
        }
        let mut old: Vec<(PageId, u32)> = all
            .filter(|page| written.iter().all(|(other, _)| other != page))
            .filter_map(|page| match self.place(page) {
                Place::Memory(slot) => Some((page, slot)),
                Place::File(_) | Place::Nowhere => None,
            })
            .collect();
        old.sort_by_key(|(page, _)| ages[page]);
        old.truncate((n - self.free_slots.len()).max(self.n_slots / SPILLED_SHARE).min(self.free_records.len()));
        let has = self.n_slots;
        assert!(self.free_slots.len() + old.len() >= n, "{n} pages are written where memory holds {has}");
        let records: Vec<u32> = self.free_records.iter().copied().take(old.len()).collect();
        self.file.write(&records, |i, layer| memory.part(old[i].1, layer))?;
        for ((page, slot), record) in old.into_iter().zip(records) {
            self.free_records.remove(&record);
            self.free_slots.push(slot);
            self.places[page.0 as usize] = Place::File(record);
        }
        Ok(())
    }

    /// Frees the place of a page.
    fn forget(&mut self, page: PageId) {
        match std::mem::replace(&mut self.places[page.0 as usize], Place::Nowhere) {
            Place::Nowhere => {}
            Place::Memory(slot) => self.free_slots.push(slot),
            Place::File(record) => drop(self.free_records.insert(record)),
        }
    }
}

/// The pages that a pass writes, and whether each has tokens of before that must stay.
pub(super) fn written(placement: &Placement) -> Vec<(PageId, bool)> {
    let mut written: Vec<(PageId, bool)> = Vec::new();
    for place in placement.rows.iter().map(|row| placement.place(row)) {
        if written.last().is_none_or(|(last, _)| *last != place.page) {
            let is_copy = placement.copies.iter().any(|(_, to)| *to == place.page);
            written.push((place.page, place.row > 0 && !is_copy));
        }
    }
    written
}
