//! The weight store: the only door through which the forward pass sees weights.
//!
//! A slab is read when the pass first asks for it and then kept, so a model's first pass is its load. Embedding rows
//! are read one by one, since a pass needs a few of them out of very many.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kernels::Kernels;
use model::{Matrix, ModelSpec, TensorId, Vector};

use crate::slot::Slot;
use crate::{ReadStats, SlabId, SlabTable, StoreError};

/// A model's weights.
#[derive(Debug)]
pub struct WeightStore {
    path: PathBuf,
    file: File,
    names: Vec<String>,
    slabs: SlabTable,
    slots: Vec<OnceCell<Slot>>,
    stats: Cell<ReadStats>,
}

/// A slab in memory: its bytes stay there while the guard lives.
#[derive(Debug)]
pub struct SlabGuard<'a> {
    bytes: &'a [u8],
    first_row: usize,
}

impl SlabGuard<'_> {
    /// The rows' bytes, in the matrix's quantisation.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Where in the matrix the rows begin.
    pub fn first_row(&self) -> usize {
        self.first_row
    }
}

impl WeightStore {
    /// Opens the file that `spec` was read from; reads no weights yet.
    ///
    /// Errors: the file cannot be opened, or a tensor is too large for the address space.
    pub fn open(path: &Path, spec: &ModelSpec) -> Result<WeightStore, StoreError> {
        let file = File::open(path).map_err(|source| StoreError::Open { path: path.display().to_string(), source })?;
        let slabs = SlabTable::new(spec)?;
        let slots = slabs.all().iter().map(|_| OnceCell::new()).collect();
        let names = spec.tensors.iter().map(|t| t.name.clone()).collect();
        Ok(WeightStore { path: path.to_owned(), file, names, slabs, slots, stats: Cell::default() })
    }

    /// The slabs of a matrix, first row first.
    pub fn slabs_of(&self, matrix: &Matrix) -> impl Iterator<Item = SlabId> + use<> {
        self.slabs.of(matrix.tensor)
    }

    /// Brings a slab into memory.
    ///
    /// Errors: the read failed.
    pub fn slab(&self, id: SlabId) -> Result<SlabGuard<'_>, StoreError> {
        let slab = self.slabs.get(id);
        let slot = match self.slots[id.index()].get() {
            Some(slot) => {
                self.count(|s| s.hits += 1);
                slot
            }
            None => {
                let mut slot = Slot::new(slab.len);
                self.read(slab.tensor, slab.offset, &mut slot)?;
                self.count(|s| {
                    s.misses += 1;
                    s.pinned_bytes += slab.len as u64;
                });
                self.slots[id.index()].get_or_init(|| slot)
            }
        };
        Ok(SlabGuard { bytes: slot, first_row: slab.rows.start })
    }

    /// Copies one row of a matrix, from memory if its slab is there.
    ///
    /// Shapes: `out` is one row in the matrix's quantisation. Errors: the read failed. Panics if `row` or the length
    /// of `out` do not fit the matrix.
    pub fn read_row(&self, spec: &ModelSpec, matrix: &Matrix, row: usize, out: &mut [u8]) -> Result<(), StoreError> {
        assert!(row < matrix.rows, "row {row} of a matrix with {} rows", matrix.rows);
        if let Some(id) = self.slabs.holding(matrix.tensor, row)
            && let Some(slot) = self.slots[id.index()].get()
        {
            let at = (row - self.slabs.get(id).rows.start) * out.len();
            out.copy_from_slice(&slot[at..at + out.len()]);
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

    fn read(&self, tensor: TensorId, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        let start = Instant::now();
        self.file.read_exact_at(out, offset).map_err(|source| StoreError::Read {
            path: self.path.display().to_string(),
            tensor: self.names[tensor.0 as usize].clone(),
            offset,
            len: out.len(),
            source,
        })?;
        self.count(|s| {
            s.bytes_read += out.len() as u64;
            s.stall += start.elapsed();
        });
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut ReadStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}
