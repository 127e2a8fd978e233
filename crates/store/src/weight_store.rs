//! The weight store: the only door through which the forward pass sees weights.
//!
//! A pinned slab is read when the pass first needs it and then kept, so a model's first pass is its load; a streamed one
//! is read in every pass, ahead of time. Embedding rows are read one by one, since a pass needs a few out of very many.
//! Nothing here knows where a slab comes from but the order in which passes ask.

use std::cell::{Cell, OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kernels::Kernels;
use model::{Matrix, ModelSpec, TensorId, Vector};

use crate::io::{self, IoMode, ModelFile, PreadPool, ReadRequest, Reader};
use crate::plan::{Residency, ResidencyPlan};
use crate::read_ahead::{ReadAhead, Slabs, TakeError};
use crate::slot::Slot;
use crate::{ReadStats, SlabId, SlabTable, StoreError};

/// Enough to outlast a drive's own cache of a few MiB, little enough to be read in a blink.
const DISK_SAMPLE_BYTES: u64 = 128 << 20;

/// A model's weights.
pub struct WeightStore {
    path: PathBuf,
    names: Vec<String>,
    slabs: SlabTable,
    residency: Vec<Residency>,
    pinned: Vec<OnceCell<Slot>>,
    read_ahead: RefCell<ReadAhead>,
    file: Arc<ModelFile>,
    depth: usize,
    stats: Cell<ReadStats>,
}

/// A slab in memory: its bytes stay there while the guard lives.
pub struct SlabGuard<'a> {
    store: &'a WeightStore,
    id: SlabId,
    /// The slot of a streamed slab; a pinned one is the store's.
    streamed: Option<Slot>,
}

impl SlabGuard<'_> {
    /// The rows' bytes, in the matrix's quantisation.
    pub fn bytes(&self) -> &[u8] {
        let pinned = || self.store.pinned[self.id.index()].get().expect("a guard of a pinned slab finds it in memory");
        self.streamed.as_ref().unwrap_or_else(pinned).slab()
    }

    /// Where in the matrix the rows begin.
    pub fn first_row(&self) -> usize {
        self.store.slabs.get(self.id).rows.start
    }
}

impl Drop for SlabGuard<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.streamed.take() {
            self.store.read_ahead.borrow_mut().give_back(self.store.views(), slot);
        }
    }
}

impl WeightStore {
    /// Opens the file that `spec` was read from; reads no weights yet.
    ///
    /// Errors: the file cannot be opened, or a tensor is too large for the address space.
    pub fn open(path: &Path, spec: &ModelSpec, plan: &ResidencyPlan, mode: IoMode) -> Result<WeightStore, StoreError> {
        let file =
            io::open(path, mode).map_err(|source| StoreError::Open { path: path.display().to_string(), source })?;
        let file = Arc::new(file);
        let slabs = SlabTable::new(spec)?;
        let residency = plan.residency.clone();
        let slots = (0..plan.n_slots).map(|_| Slot::new(plan.slot_len)).collect::<Result<_, _>>()?;
        let reader = Box::new(PreadPool::new(&file, plan.depth));
        let views = Slabs { table: &slabs, residency: &residency };
        Ok(WeightStore {
            path: path.to_owned(),
            names: spec.tensors.iter().map(|t| t.name.clone()).collect(),
            pinned: slabs.all().iter().map(|_| OnceCell::new()).collect(),
            read_ahead: RefCell::new(ReadAhead::new(views, reader, plan.depth, slots)),
            slabs,
            residency,
            file,
            depth: plan.depth,
            stats: Cell::default(),
        })
    }

    /// Whether weights are read past the page cache.
    pub fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    /// The slabs of a matrix, first row first.
    pub fn slabs_of(&self, matrix: &Matrix) -> impl Iterator<Item = SlabId> + use<> {
        self.slabs.of(matrix.tensor)
    }

    /// Brings a slab into memory. At most one guard of a streamed slab may be alive.
    ///
    /// Errors: the read failed; the slab can be asked for again.
    pub fn slab(&self, id: SlabId) -> Result<SlabGuard<'_>, StoreError> {
        let pinned = self.residency[id.index()] == Residency::Pinned;
        if pinned && self.pinned[id.index()].get().is_some() {
            self.count(|s| s.hits += 1);
            return Ok(SlabGuard { store: self, id, streamed: None });
        }
        let slot = self.take(id)?;
        if !pinned {
            return Ok(SlabGuard { store: self, id, streamed: Some(slot) });
        }
        self.count(|s| s.pinned_bytes += slot.slab().len() as u64);
        self.pinned[id.index()].get_or_init(|| slot);
        Ok(SlabGuard { store: self, id, streamed: None })
    }

    fn take(&self, id: SlabId) -> Result<Slot, StoreError> {
        let mut read_ahead = self.read_ahead.borrow_mut();
        if read_ahead.has(self.views(), id) {
            self.count(|s| s.prefetch_hits += 1);
        } else {
            self.count(|s| s.misses += 1);
        }
        let start = Instant::now();
        let taken = read_ahead.take(self.views(), id);
        let work = read_ahead.take_work();
        self.count(|s| {
            s.stall += start.elapsed();
            s.bytes_read += work.bytes;
            s.busy += work.busy;
        });
        taken.map_err(|error| match error {
            TakeError::Memory(error) => error,
            TakeError::Read(source) => {
                let slab = self.slabs.get(id);
                self.read_error(slab.tensor, slab.offset, slab.len, source)
            }
        })
    }

    /// Copies one row of a matrix, from memory if its slab is there.
    ///
    /// Shapes: `out` is one row in the matrix's quantisation. Errors: the read failed. Panics if `row` or the length
    /// of `out` do not fit the matrix.
    pub fn read_row(&self, spec: &ModelSpec, matrix: &Matrix, row: usize, out: &mut [u8]) -> Result<(), StoreError> {
        assert!(row < matrix.rows, "row {row} of a matrix with {} rows", matrix.rows);
        if let Some(id) = self.slabs.holding(matrix.tensor, row)
            && let Some(slot) = self.pinned[id.index()].get()
        {
            let at = (row - self.slabs.get(id).rows.start) * out.len();
            out.copy_from_slice(&slot.slab()[at..at + out.len()]);
            return Ok(());
        }
        let offset = spec.tensor(matrix.tensor).offset + (row * out.len()) as u64;
        self.read(matrix.tensor, offset, out)
    }

    /// Reads a small vector and expands it to `f32`.
    ///
    /// Errors: the read failed.
    pub fn read_vector(&self, spec: &ModelSpec, vector: Vector) -> Result<Vec<f32>, StoreError> {
        let info = spec.tensor(vector.tensor);
        let len = info.quant.row_bytes(vector.len).expect("the header's reader has checked the row length");
        let mut bytes = vec![0; len];
        self.read(vector.tensor, info.offset, &mut bytes)?;
        let mut values = vec![0.0; vector.len];
        Kernels::scalar().dequantise(info.quant, &bytes, &mut values);
        Ok(values)
    }

    /// Counts so far.
    pub fn stats(&self) -> ReadStats {
        self.stats.get()
    }

    /// Bytes a second that the disk gives when nothing else is done: the first slabs, read as a pass would read them.
    ///
    /// Errors: a read failed.
    pub fn measure_disk(&self) -> Result<f64, StoreError> {
        let mut reader = PreadPool::new(&self.file, self.depth);
        let largest = self.slabs.all().iter().map(|s| s.len).max().unwrap_or(0);
        let mut free = (0..self.depth).map(|_| Slot::new(largest)).collect::<Result<Vec<_>, _>>()?;
        let (start, mut bytes, mut under_way) = (Instant::now(), 0, 0);
        let mut asked = 0;
        let mut sample = self.slabs.ids().take_while(|id| {
            asked += self.slabs.get(*id).len as u64;
            asked <= DISK_SAMPLE_BYTES
        });
        loop {
            while let Some(mut slot) = free.pop() {
                let Some(id) = sample.next() else { break };
                let slab = self.slabs.get(id);
                let span = slot.fill_for(slab.offset, slab.len);
                reader.submit(ReadRequest { slab: id, span, slot });
                under_way += 1;
            }
            if under_way == 0 {
                return Ok(bytes as f64 / start.elapsed().as_secs_f64().max(1e-9));
            }
            let done = reader.wait();
            under_way -= 1;
            let slab = self.slabs.get(done.slab);
            done.result.map_err(|source| self.read_error(slab.tensor, slab.offset, slab.len, source))?;
            bytes += slab.len as u64;
            free.push(done.slot);
        }
    }

    /// Reads a few bytes at once, by way of a slot, since direct reads move whole blocks.
    fn read(&self, tensor: TensorId, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        let start = Instant::now();
        let mut slot = Slot::new(out.len())?;
        let span = slot.fill_for(offset, out.len());
        let result = self.file.read(slot.target(span), span.offset, span.needed);
        result.map_err(|source| self.read_error(tensor, offset, out.len(), source))?;
        out.copy_from_slice(slot.slab());
        self.count(|s| {
            s.bytes_read += out.len() as u64;
            s.stall += start.elapsed();
            s.busy += start.elapsed();
        });
        Ok(())
    }

    fn views(&self) -> Slabs<'_> {
        Slabs { table: &self.slabs, residency: &self.residency }
    }

    fn read_error(&self, tensor: TensorId, offset: u64, len: usize, source: std::io::Error) -> StoreError {
        let tensor = self.names[tensor.0 as usize].clone();
        StoreError::Read { path: self.path.display().to_string(), tensor, offset, len, source }
    }

    fn count(&self, change: impl FnOnce(&mut ReadStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}
