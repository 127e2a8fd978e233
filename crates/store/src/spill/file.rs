//! The spill file: records are written whole and read part by part.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StoreError;
use crate::io::open_file::OpenFile;
use crate::io::pread::PreadPool;
use crate::ledger::{Ledger, Reservation};
use crate::plan::DEPTH;
use crate::spill::layout::Layout;
use crate::spill::read_ahead::{PartsAhead, SpilledPart};
use crate::stats::ReadStats;

/// A file for records that memory has no room for. It has no name, so the system frees it however the program ends.
pub struct SpillFile {
    folder: PathBuf,
    file: Arc<[OpenFile]>,
    ahead: PartsAhead,
    _counted: Reservation,
}

impl SpillFile {
    /// Creates a file with places for `n_records` records of parts of these lengths, in a folder that is created if it does
    /// not exist. Places take no disk space until they are written.
    ///
    /// Errors: the folder or the file cannot be created, or the budget does not hold the buffers.
    pub fn create(
        folder: &Path,
        part_bytes: &[usize],
        n_records: usize,
        ledger: &Ledger,
    ) -> Result<SpillFile, StoreError> {
        let failed = |source| StoreError::Spill { folder: folder.display().to_string(), doing: "create", source };
        let counted = ledger.reserve("KV read-ahead", SpillFile::buffer_bytes(part_bytes, n_records))?;
        let file: Arc<[OpenFile]> = Arc::new([OpenFile::unnamed(folder).map_err(failed)?]);
        let layout = Layout::new(part_bytes, n_records);
        let slots = layout.slots()?;
        let reader = PreadPool::new(&file, DEPTH);
        let ahead = PartsAhead::new(layout, slots, Box::new(reader));
        Ok(SpillFile { folder: folder.to_owned(), file, ahead, _counted: counted })
    }

    /// Bytes of the two buffers of a file for such records.
    pub fn buffer_bytes(part_bytes: &[usize], n_records: usize) -> u64 {
        Layout::new(part_bytes, n_records).memory_bytes()
    }

    /// Writes records, which are in order; `part(i, n)` is part `n` of `records[i]`.
    ///
    /// Errors: the disk is full, or the write failed. All other records are unchanged.
    pub fn write<'a>(&mut self, records: &[u32], part: impl Fn(usize, usize) -> &'a [u8]) -> Result<(), StoreError> {
        self.ahead.interrupt().map_err(|source| self.failed("read", source))?;
        let runs = self.ahead.layout().runs(records);
        for n in 0..self.ahead.layout().n_parts() {
            let stride = self.ahead.layout().stride(n);
            for &(first, len) in &runs {
                let offset = self.ahead.layout().offset(n, records[first]);
                let memory = self.ahead.memory(offset, len * stride);
                for (i, to) in (first..).zip(memory.chunks_exact_mut(stride)) {
                    let bytes = part(i, n);
                    to[..bytes.len()].copy_from_slice(bytes);
                }
                self.file[0].write(memory, offset).map_err(|source| self.failed("write to", source))?;
            }
        }
        self.file[0].forget_written().map_err(|source| self.failed("write to", source))
    }

    /// Reads one record between passes; `take` is given its parts in order.
    ///
    /// Errors: a read failed.
    pub fn read(&mut self, record: u32, mut take: impl FnMut(usize, &[u8])) -> Result<(), StoreError> {
        let failed =
            |folder: &Path, source| StoreError::Spill { folder: folder.display().to_string(), doing: "read", source };
        self.ahead.interrupt().map_err(|source| failed(&self.folder, source))?;
        for part in 0..self.ahead.layout().n_parts() {
            take(part, self.ahead.read_one(part, record).map_err(|source| failed(&self.folder, source))?);
        }
        Ok(())
    }

    /// Begins a pass that wants these records, and begins to read their first parts unless the last pass has done so.
    ///
    /// Errors: reads for an earlier pass do not complete.
    pub fn want(&mut self, records: &[u32]) -> Result<(), StoreError> {
        self.ahead.want(records).map_err(|source| self.failed("read", source))
    }

    /// Waits for a part of the records that the pass wants. Parts are asked for in order, each once.
    ///
    /// Errors: a read failed.
    pub fn arrive(&mut self, part: usize) -> Result<(), StoreError> {
        match self.ahead.arrive(part) {
            Ok(_) => Ok(()),
            Err(source) => Err(self.failed("read", source)),
        }
    }

    /// The part that arrived last.
    pub fn part(&self) -> SpilledPart<'_> {
        self.ahead.part()
    }

    /// Releases the part that arrived last: its memory is filled with the part after the next.
    pub fn release(&mut self) {
        self.ahead.release();
    }

    /// How much has been read, and how long passes waited for it.
    pub fn stats(&self) -> ReadStats {
        self.ahead.stats()
    }

    fn failed(&self, doing: &'static str, source: std::io::Error) -> StoreError {
        StoreError::Spill { folder: self.folder.display().to_string(), doing, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [usize; 3] = [5000, 4096, 300_000];

    fn bytes(record: u32, part: usize) -> Vec<u8> {
        (0..PARTS[part]).map(|i| (i as u32 * 31 + record * 7 + part as u32) as u8).collect()
    }

    fn write(file: &mut SpillFile, records: &[u32]) -> Result<(), StoreError> {
        let all: Vec<Vec<Vec<u8>>> = records.iter().map(|r| (0..3).map(|part| bytes(*r, part)).collect()).collect();
        file.write(records, |i, part| &all[i][part])
    }

    #[test]
    fn records_come_back_as_they_were_and_the_file_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("made when missing");
        let ledger = Ledger::new(1 << 30);
        let mut file = SpillFile::create(&inside, &PARTS, 20, &ledger).unwrap();
        assert_eq!(ledger.used_bytes(), SpillFile::buffer_bytes(&PARTS, 20));
        write(&mut file, &[0, 1, 2, 3, 7, 19]).unwrap();
        write(&mut file, &[4, 5]).unwrap();
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
        for _ in 0..2 {
            let wanted = [1, 2, 5, 19];
            file.want(&wanted).unwrap();
            for part in 0..3 {
                file.arrive(part).unwrap();
                wanted.iter().for_each(|r| assert!(file.part().record(*r) == bytes(*r, part), "{r}, {part}"));
                file.release();
            }
        }
        let mut n_parts = 0;
        file.read(7, |part, found| {
            assert!(found == bytes(7, part));
            n_parts += 1;
        })
        .unwrap();
        assert_eq!(n_parts, 3);
        drop(file);
        assert_eq!(ledger.used_bytes(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = SpillFile::create(file.path(), &PARTS, 20, &Ledger::new(1 << 30)).err().unwrap().to_string();
        assert!(error.contains(file.path().to_str().unwrap()) && error.contains("--mmap-kv"), "{error}");
    }
}
