//! The weight store: the only door through which the forward pass sees weights.
//!
//! A pinned slab is read when the pass first needs it and then kept, so a model's first pass is its load; a streamed one
//! is read in every pass, ahead of time. Embedding rows are read one by one, since a pass needs a few out of very many.
//! Nothing here knows where a slab comes from but the order in which passes ask.
//!
//! The memory that weights take is not fixed: [`WeightStore::lend`] leaves some of it to a long prompt's activations for a
//! while, and when the system runs short the store gives some up by itself.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernels::Kernels;
use model::gguf::{FileStamp, GgufFile};
use model::{Matrix, ModelSpec, Part, TensorId, Vector};

use crate::cache::Cache;
use crate::io::{Fits, IoMode, OpenFiles, Reader, Throttled, Way};
use crate::plan::{Residency, ResidencyPlan};
use crate::pressure::Watch;
use crate::probe::Probe;
use crate::read_ahead::ReadAhead;
use crate::slot::{Arena, Slot};
use crate::{Ledger, ReadStats, Reservation, SlabId, SlabTable, StoreError};

/// Enough to outlast a drive's own cache and its moods, little enough to be read in half a second.
const DISK_SAMPLE_BYTES: u64 = 384 << 20;

/// How a model's files are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoreOptions {
    /// By which way.
    pub io: IoMode,
    /// No faster than so many bytes a second.
    pub max_read_rate: Option<u64>,
}

/// A model's weights.
pub struct WeightStore {
    paths: Vec<PathBuf>,
    /// What each file was when its header was read.
    stamps: Vec<Option<FileStamp>>,
    /// Whether the user knows that another file has taken the place of one of them.
    replaced: Cell<bool>,
    names: Vec<String>,
    table: SlabTable,
    files: OpenFiles,
    options: StoreOptions,
    depth: usize,
    residency: Vec<Residency>,
    resident: RefCell<Resident>,
    watch: RefCell<Watch>,
    stats: Cell<ReadStats>,
    /// Of the stats, what others may look at while a pass runs.
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
    /// Taken away only when the guard is dropped.
    slot: Option<Slot>,
}

impl SlabGuard<'_> {
    /// The rows' bytes, in the matrix's quantisation.
    pub fn bytes(&self) -> &[u8] {
        self.slot.as_ref().expect("a guard has its slot until it is dropped").slab()
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
        let paths: Vec<PathBuf> = model_files.iter().map(|f| f.path.clone()).collect();
        let files = OpenFiles::open(&paths, options.io, fits)
            .map_err(|source| StoreError::Open { path: named(&paths), source })?;
        let stamps = model_files.iter().map(|f| f.stamp).collect();
        let table = SlabTable::new(spec)?;
        let (homes, slots) = match files.way {
            Way::Mapped => (pinned_windows(&files, &table, plan), other_windows(&files, plan)),
            _ => (
                Arena::cut(plan.pins.iter().map(|id| table.get(*id).len))?,
                Arena::cut((0..plan.n_slots_or_standby()).map(|_| plan.slot_len))?,
            ),
        };
        // Slots that may give their memory back are not made known to the reader, which would keep it.
        let filled_often = if plan.keeps_its_slots() { &slots[..] } else { &[] };
        let reader = paced(files.reader(plan.depth, filled_often), options);
        let cache = Cache::new(&table, plan, homes, slots);
        let counted = ledger.reserve("weights", cache.memory_bytes())?;
        let resident = Resident { cache, read_ahead: ReadAhead::new(reader, plan.depth), counted };
        let store = WeightStore {
            paths,
            stamps,
            replaced: Cell::new(false),
            names: spec.tensors.iter().map(|t| t.name.clone()).collect(),
            table,
            files,
            options,
            depth: plan.depth,
            residency: plan.residency.clone(),
            resident: RefCell::new(resident),
            watch: RefCell::new(Watch::new()),
            stats: Cell::default(),
            bytes_read: Arc::default(),
            stop: Arc::default(),
        };
        store.verify()?;
        Ok(store)
    }

    /// The slabs of a matrix, first row first.
    pub fn slabs_of(&self, matrix: &Matrix) -> impl Iterator<Item = SlabId> + use<> {
        self.table.of(matrix.part)
    }

    /// Brings the first of `ids` into memory, waiting for it if it must, and takes with it those behind it that are there
    /// already, up to one that would have to be waited for. Pinned slabs have places of their own, so that any number of
    /// them may be in use; of the others there is one among them at most, since more would starve read-ahead.
    ///
    /// Returns guards of the first so many of `ids`; none if there are no ids. All earlier guards must have been dropped.
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
                return Err(self.read_error(slab.file, slab.part.tensor, slab.offset, slab.len, source));
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

    /// Counts what the disk has done since this was last called.
    fn count_work(&self, resident: &mut Resident) {
        let Resident { cache, read_ahead, .. } = resident;
        let work = read_ahead.take_work();
        self.count(|s| {
            s.bytes_read += work.bytes;
            s.busy += work.busy;
            s.evictions = cache.evictions();
            s.pinned_bytes = cache.kept_bytes(&self.table);
        });
    }

    /// Leaves `bytes` of the weights' memory to others until it is called again: the pins that are the first to go make
    /// room, and are read again once they may.
    ///
    /// Errors: what was lent before has not been given back to the budget.
    pub fn lend(&self, bytes: u64) -> Result<(), StoreError> {
        let Resident { cache, read_ahead, counted } = &mut *self.resident.borrow_mut();
        // A read under way into memory that is about to be lent would come too late to be stopped.
        read_ahead.settle(&self.table, cache);
        cache.lend(&self.table, bytes);
        counted.resize(cache.memory_bytes())
    }

    /// Keeps less where the system runs short of memory.
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
            s.pinned_bytes = cache.kept_bytes(&self.table);
        });
    }

    /// Copies rows of a matrix, from memory where they are there.
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
                    None => to_read.push((spec.tensor(matrix.part.tensor).offset + (row * row_bytes) as u64, out)),
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

    /// Counts so far.
    pub fn stats(&self) -> ReadStats {
        self.stats.get()
    }

    /// Bytes read so far, to be looked at from another thread while a pass runs.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// Ends the pass under way at its next slab when it is set, from any thread, and every pass as long as it is.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Looks whether the files are still those whose headers were read. To be called after a pass, before its result is
    /// believed. That another file has taken a name is worth a warning; the one that was opened is still there.
    ///
    /// Errors: a file has been written to or cut short, so what was computed may be wrong.
    pub fn verify(&self) -> Result<(), StoreError> {
        for (file, (path, stamp)) in self.paths.iter().zip(&self.stamps).enumerate() {
            let changed = |what: &str| StoreError::Changed { path: path.display().to_string(), what: what.to_owned() };
            if self.files.mappings.get(file).is_some_and(|mapping| mapping.was_lost()) {
                return Err(changed("parts of it could not be read"));
            }
            let Some(stamp) = stamp else { continue };
            match self.files.stamp(file) {
                Ok(now) if now == *stamp => {}
                Ok(_) => return Err(changed("its length or time of modification is another")),
                Err(e) => return Err(changed(&e.to_string())),
            }
            if !self.replaced.get() && FileStamp::at(path).ok() != Some(*stamp) {
                self.replaced.set(true);
                tracing::warn!("{} is another file by now; this run goes on with the one it opened", path.display());
            }
        }
        Ok(())
    }

    /// Bytes a second that the disk gives when nothing else is done: slabs from all parts of the pass, those that are
    /// streamed if there are such, read as a pass would read them.
    ///
    /// Errors: a read failed.
    pub fn measure_disk(&self) -> Result<f64, StoreError> {
        self.probe()?.rate(self.depth, DISK_SAMPLE_BYTES)
    }

    /// How many requests should be under way at once: four, or more where this disk is clearly faster with more.
    ///
    /// Errors: a read failed.
    pub fn measure_depth(&self) -> Result<usize, StoreError> {
        self.probe()?.depth()
    }

    fn probe(&self) -> Result<Probe<'_>, StoreError> {
        let unanswered = |source| StoreError::Open { path: named(&self.paths), source };
        let other = self.files.past_mappings(&self.paths).map_err(unanswered)?;
        let streamed = |id: &SlabId| self.residency[id.index()] == Residency::Streamed;
        let mut slabs: Vec<SlabId> = self.table.ids().filter(streamed).collect();
        if slabs.is_empty() {
            slabs = self.table.ids().collect();
        }
        let reader = move |depth: usize, slots: &[Slot]| {
            paced(other.as_ref().unwrap_or(&self.files).reader(depth, slots), self.options)
        };
        let failed = |id: SlabId, source| {
            let slab = self.table.get(id);
            self.read_error(slab.file, slab.part.tensor, slab.offset, slab.len, source)
        };
        Ok(Probe { table: &self.table, slabs, reader: Box::new(reader), failed: Box::new(failed) })
    }

    /// Reads a few bytes here and there at once.
    fn read_few(&self, tensor: TensorId, file: u16, wanted: Vec<(u64, &mut [u8])>) -> Result<(), StoreError> {
        let file = usize::from(file);
        let start = Instant::now();
        let bytes: u64 = wanted.iter().map(|(_, out)| out.len() as u64).sum();
        self.files
            .read_few(file, wanted)
            .map_err(|failed| self.read_error(file, tensor, failed.offset, failed.len, failed.source))?;
        self.count(|s| {
            s.bytes_read += bytes;
            s.stall += start.elapsed();
            s.busy += start.elapsed();
        });
        Ok(())
    }

    fn read_error(&self, file: usize, tensor: TensorId, offset: u64, len: usize, source: std::io::Error) -> StoreError {
        let tensor = self.names[tensor.0 as usize].clone();
        StoreError::Read { path: self.paths[file].display().to_string(), tensor, offset, len, source }
    }

    fn count(&self, change: impl FnOnce(&mut ReadStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.bytes_read.store(stats.bytes_read, Ordering::Relaxed);
        self.stats.set(stats);
    }
}

/// Slows a reader down where that is asked for.
fn paced(reader: Box<dyn Reader>, options: StoreOptions) -> Box<dyn Reader> {
    match options.max_read_rate {
        Some(rate) => Box::new(Throttled::new(reader, rate as f64)),
        None => reader,
    }
}

/// A window for each pinned slab.
fn pinned_windows(files: &OpenFiles, table: &SlabTable, plan: &ResidencyPlan) -> Vec<Slot> {
    plan.pins.iter().map(|id| Slot::window(&files.mappings[table.get(*id).file])).collect()
}

/// Windows for all others. Each shows the file that its slab lies in.
fn other_windows(files: &OpenFiles, plan: &ResidencyPlan) -> Vec<Slot> {
    (0..plan.n_slots_or_standby()).map(|_| Slot::window(&files.mappings[0])).collect()
}

/// The files in a message.
fn named(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
