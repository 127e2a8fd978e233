//! The weight store: the only door through which the forward pass sees weights.
//!
//! A pinned slab is read when a pass first needs it and then kept, so that a model's first pass loads it; a streamed one is
//! read in every pass, ahead of time. Passes need slabs in the order of a cycle, and [`WeightStore::expect`] says what one
//! needs before the cycle goes on. Embedding rows are read one by one, since a pass needs few out of many.
//!
//! The memory for weights is not fixed: [`WeightStore::lend`] leaves some of it to a long prompt's activations, and under
//! memory pressure the store gives some up.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernels::Kernels;
use model::gguf::GgufFile;
use model::{Matrix, ModelSpec, Part, TensorId, Vector};

use crate::cache::Cache;
use crate::error::StoreError;
use crate::io::mode::{Fits, IoMode};
use crate::io::reader::Reader;
use crate::io::throttled::Throttled;
use crate::ledger::{Ledger, Reservation};
use crate::model_files::ModelFiles;
use crate::plan::{Residency, ResidencyPlan};
use crate::pressure::watch::Watch;
use crate::probe::Probe;
use crate::read_ahead::ReadAhead;
use crate::slab::{SlabId, SlabTable, row_offset};
use crate::slot::Slot;
use crate::stats::ReadStats;

/// Enough to outlast a drive's cache and the swings of its speed, little enough to be read in half a second.
const DISK_SAMPLE_BYTES: u64 = 384 << 20;

/// How a model's files are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoreOptions {
    /// Which reader is used.
    pub io: IoMode,
    /// Limit on the read rate, in bytes per second.
    pub max_read_rate: Option<u64>,
}

/// A model's weights.
pub struct WeightStore {
    files: ModelFiles,
    table: SlabTable,
    options: StoreOptions,
    depth: usize,
    residency: Vec<Residency>,
    resident: RefCell<Resident>,
    watch: RefCell<Watch>,
    stats: Cell<ReadStats>,
    /// The part of the stats that other threads may look at while a pass runs.
    bytes_read: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// What is in memory and on its way there.
struct Resident {
    cache: Cache,
    read_ahead: ReadAhead,
    counted: Reservation,
}

/// A slab in memory: its bytes stay there while the guard lives.
pub struct SlabGuard<'a> {
    store: &'a WeightStore,
    id: SlabId,
    /// There until the guard is dropped.
    slot: Option<Slot>,
}

impl SlabGuard<'_> {
    /// The rows' bytes, in the matrix's quantisation.
    pub fn bytes(&self) -> &[u8] {
        self.slot.as_ref().expect("a guard has its slot until it is dropped").slab()
    }

    /// Which slab it is.
    pub fn id(&self) -> SlabId {
        self.id
    }

    /// The matrix that the rows belong to.
    pub fn part(&self) -> Part {
        self.store.table.get(self.id).part
    }

    /// Where in the matrix the rows begin.
    pub fn first_row(&self) -> usize {
        self.store.table.get(self.id).rows.start
    }
}

impl Drop for SlabGuard<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let Resident { cache, read_ahead, .. } = &mut *self.store.resident.borrow_mut();
            cache.put_back(&self.store.table, self.id, slot);
            read_ahead.fill(&self.store.table, cache);
        }
    }
}

impl WeightStore {
    /// Opens the files that `spec` was read from; reads no weights yet. Their memory is counted in `ledger`.
    ///
    /// Errors: a file cannot be opened in this way or is not what it was when its header was read, a tensor is too large
    /// for the address space, or the budget does not hold the plan.
    pub fn open(
        model_files: &[GgufFile],
        spec: &ModelSpec,
        plan: &ResidencyPlan,
        options: StoreOptions,
        ledger: &Ledger,
    ) -> Result<WeightStore, StoreError> {
        let fits = if plan.fits() { Fits::Yes } else { Fits::No };
        let files = ModelFiles::open(model_files, spec, options.io, fits)?;
        let table = SlabTable::new(spec)?;
        let homes = files.open.slots(plan.pins.iter().map(|id| table.get(*id).len))?;
        let slots = files.open.slots((0..plan.n_slots_or_standby()).map(|_| plan.slot_len))?;
        // The reader keeps the memory of slots that are registered with it, so those that may have to release theirs are not.
        let filled_often = if plan.keeps_its_slots() { &slots[..] } else { &[] };
        let reader = paced(files.open.reader(plan.depth, filled_often), options);
        let cache = Cache::new(&table, plan, homes, slots);
        let counted = ledger.reserve("weights", cache.memory_bytes())?;
        let read_ahead = ReadAhead::new(reader, plan.depth, table.cycle().to_vec());
        files.verify()?;
        Ok(WeightStore {
            files,
            table,
            options,
            depth: plan.depth,
            residency: plan.residency.clone(),
            resident: RefCell::new(Resident { cache, read_ahead, counted }),
            watch: RefCell::new(Watch::new()),
            stats: Cell::default(),
            bytes_read: Arc::default(),
            stop: Arc::default(),
        })
    }

    /// Replaces the cycle. By default it is what every pass needs, in the order of the walk; a device that keeps slabs leaves
    /// these out. A slab that is not in the cycle can still be asked for, and is read when it is.
    pub fn set_cycle(&self, cycle: Vec<SlabId>) {
        let Resident { cache, read_ahead, .. } = &mut *self.resident.borrow_mut();
        read_ahead.set_cycle(cache, cycle);
    }

    /// Announces slabs that the pass needs next, before it goes on with its cycle: they are read ahead first, in this order.
    ///
    /// Slabs that are in memory cost nothing. The order is a hint: the pass may skip some of them, whose slots are reused
    /// when they are needed. A call adds to earlier ones, until the pass has taken a slab of the cycle.
    pub fn expect(&self, slabs: &[SlabId]) {
        let Resident { cache, read_ahead, .. } = &mut *self.resident.borrow_mut();
        read_ahead.expect(&self.table, cache, slabs);
    }

    /// The slabs of a matrix, first row first.
    pub fn slabs_of(&self, matrix: &Matrix) -> impl Iterator<Item = SlabId> + use<> {
        self.table.of(matrix.part)
    }

    /// Brings the first of `ids` into memory, waiting for it if it must, and with it those behind it that are there already,
    /// up to one that would have to be waited for. Any number of them may be pinned. At most one is not, since more slots
    /// in use would starve read-ahead.
    ///
    /// Returns guards of the first few of `ids`; none if there are no ids. All earlier guards must have been dropped.
    /// Errors: the read failed, and the slab can be asked for again; or the pass is to stop.
    pub fn slabs(&self, ids: &[SlabId]) -> Result<Vec<SlabGuard<'_>>, StoreError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(StoreError::Stopped);
        }
        let Some((first, others)) = ids.split_first() else { return Ok(Vec::new()) };
        self.heed_pressure();
        let resident = &mut *self.resident.borrow_mut();
        resident.read_ahead.look(&self.table, &mut resident.cache);
        let taken = self.take(resident, *first);
        let mut guards = Vec::with_capacity(ids.len());
        match taken {
            Ok(guard) => guards.push(guard),
            Err(source) => {
                self.count_work(resident);
                let slab = self.table.get(*first);
                return Err(self.files.read_error(slab.file, slab.part.tensor, slab.offset, slab.len, source));
            }
        }
        let mut any_without_home = !resident.cache.is_home(*first);
        for &id in others {
            let has_home = resident.cache.is_home(id);
            if !resident.cache.has(id) || any_without_home && !has_home {
                break;
            }
            any_without_home |= !has_home;
            guards.push(self.take(resident, id).expect("what is there is not read"));
        }
        self.count_work(resident);
        Ok(guards)
    }

    /// Takes one slab, waiting for it if it is not there.
    fn take(&self, resident: &mut Resident, id: SlabId) -> std::io::Result<SlabGuard<'_>> {
        let Resident { cache, read_ahead, .. } = resident;
        let (kept, there) = (cache.has_kept(id), cache.has(id));
        let start = (!there).then(Instant::now);
        let taken = read_ahead.take(&self.table, cache, id);
        self.count(|s| {
            s.hits += u64::from(kept);
            s.prefetch_hits += u64::from(there && !kept);
            s.misses += u64::from(!there);
            s.stall += start.map_or(Duration::ZERO, |start| start.elapsed());
        });
        Ok(SlabGuard { store: self, id, slot: Some(taken?) })
    }

    /// Counts what the disk has done since the last call.
    fn count_work(&self, resident: &mut Resident) {
        let Resident { cache, read_ahead, .. } = resident;
        let work = read_ahead.take_work();
        self.count(|s| {
            s.bytes_read += work.bytes;
            s.busy += work.busy;
            s.evictions = cache.evictions();
            s.pinned_bytes = cache.kept_bytes();
        });
    }

    /// Leaves `bytes` of the weights' memory to others until it is called again: the last pins make room, and are read again
    /// once they may.
    ///
    /// Errors: memory that was lent before has not been returned to the budget.
    pub fn lend(&self, bytes: u64) -> Result<(), StoreError> {
        let Resident { cache, read_ahead, counted } = &mut *self.resident.borrow_mut();
        // A read in flight into memory that is about to be lent could not be stopped any more.
        read_ahead.settle(&self.table, cache);
        cache.lend(&self.table, bytes);
        counted.resize(cache.memory_bytes())
    }

    /// Keeps less under memory pressure.
    fn heed_pressure(&self) {
        let kept_bytes = self.stats.get().pinned_bytes;
        let Some(step) = self.watch.borrow_mut().poll(Instant::now(), kept_bytes) else { return };
        let Resident { cache, counted, .. } = &mut *self.resident.borrow_mut();
        let given_up = cache.give_up(&self.table, step.bytes);
        let smaller = counted.resize(cache.memory_bytes());
        debug_assert!(smaller.is_ok(), "a reservation can always shrink");
        if self.stats.get().given_up_bytes == 0 && given_up > 0 {
            tracing::warn!("{step}");
        }
        self.count(|s| {
            s.given_up_bytes += given_up;
            s.pinned_bytes = cache.kept_bytes();
        });
    }

    /// Copies rows of a matrix, from memory if they are there.
    ///
    /// Shapes: `out` is `[rows.len(), row bytes]` in the matrix's quantisation. Errors: a read failed. Panics if a row
    /// or the length of `out` does not fit the matrix.
    pub fn read_rows(
        &self,
        spec: &ModelSpec,
        matrix: &Matrix,
        rows: &[usize],
        out: &mut [u8],
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let row_bytes = out.len() / rows.len();
        let mut to_read = Vec::new();
        {
            let resident = self.resident.borrow();
            for (&row, out) in rows.iter().zip(out.chunks_exact_mut(row_bytes)) {
                assert!(row < matrix.rows, "row {row} of a matrix with {} rows", matrix.rows);
                let slab = self.table.holding(matrix.part, row);
                match slab.and_then(|id| Some((id, resident.cache.look(id)?))) {
                    Some((id, slot)) => {
                        let at = (row - self.table.get(id).rows.start) * row_bytes;
                        out.copy_from_slice(&slot.slab()[at..at + row_bytes]);
                    }
                    None => to_read.push((row_offset(spec, matrix, row, row_bytes), out)),
                }
            }
        }
        if to_read.is_empty() {
            Ok(())
        } else {
            self.read_few(matrix.part.tensor, spec.tensor(matrix.part.tensor).file, to_read)
        }
    }

    /// Reads a small vector and expands it to `f32`.
    ///
    /// Errors: the read failed.
    pub fn read_vector(&self, spec: &ModelSpec, vector: Vector) -> Result<Vec<f32>, StoreError> {
        let info = spec.tensor(vector.tensor);
        let len = info.quant.row_bytes(vector.len).expect("the header's reader has checked the row length");
        let mut bytes = vec![0; len];
        self.read_few(vector.tensor, info.file, vec![(info.offset, &mut bytes)])?;
        let mut values = vec![0.0; vector.len];
        Kernels::scalar().dequantise(info.quant, &bytes, &mut values);
        Ok(values)
    }

    /// Counts since the store was opened.
    pub fn stats(&self) -> ReadStats {
        self.stats.get()
    }

    /// Bytes read so far, for other threads to look at while a pass runs.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// A flag that any thread may set: as long as it is, passes end at their next slab.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Checks that the files are still those whose headers were read. To be called after a pass, before its result is used.
    ///
    /// Errors: a file has been written to or truncated, so the result may be wrong.
    pub fn verify(&self) -> Result<(), StoreError> {
        self.files.verify()
    }

    /// Read rate of the disk while nothing else is done, in bytes per second: slabs from all parts of the pass, if possible
    /// those that are not pinned, are read as a pass would.
    ///
    /// Errors: a read failed.
    pub fn measure_disk(&self) -> Result<f64, StoreError> {
        self.probe()?.rate(self.depth, DISK_SAMPLE_BYTES)
    }

    /// How many requests should be in flight at once: four, or more if this disk is clearly faster with more.
    ///
    /// Errors: a read failed.
    pub fn measure_depth(&self) -> Result<usize, StoreError> {
        self.probe()?.depth()
    }

    fn probe(&self) -> Result<Probe<'_>, StoreError> {
        let other = self.files.past_mappings()?;
        let is_read = |id: &SlabId| self.residency[id.index()] != Residency::Pinned;
        let mut slabs: Vec<SlabId> = self.table.ids().filter(is_read).collect();
        if slabs.is_empty() {
            slabs = self.table.ids().collect();
        }
        let reader = move |depth: usize, slots: &[Slot]| {
            paced(other.as_ref().unwrap_or(&self.files.open).reader(depth, slots), self.options)
        };
        let failed = |id: SlabId, source| {
            let slab = self.table.get(id);
            self.files.read_error(slab.file, slab.part.tensor, slab.offset, slab.len, source)
        };
        Ok(Probe { table: &self.table, slabs, reader: Box::new(reader), failed: Box::new(failed) })
    }

    /// Reads a few bytes from each of several places at once.
    fn read_few(&self, tensor: TensorId, file: u16, wanted: Vec<(u64, &mut [u8])>) -> Result<(), StoreError> {
        let start = Instant::now();
        let bytes: u64 = wanted.iter().map(|(_, out)| out.len() as u64).sum();
        self.files.read_few(tensor, usize::from(file), wanted)?;
        self.count(|s| {
            s.bytes_read += bytes;
            s.stall += start.elapsed();
            s.busy += start.elapsed();
        });
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut ReadStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.bytes_read.store(stats.bytes_read, Ordering::Relaxed);
        self.stats.set(stats);
    }
}

/// Limits a reader's rate if the options do.
fn paced(reader: Box<dyn Reader>, options: StoreOptions) -> Box<dyn Reader> {
    match options.max_read_rate {
        Some(rate) => Box::new(Throttled::new(reader, rate as f64)),
        None => reader,
    }
}

#[cfg(test)]
mod tests;
