//! Slabs: the unit in which weights are read and kept.
//!
//! A slab is a run of whole rows of one matrix, at most [`MAX_SLAB_BYTES`] unless a single row is longer. Small units
//! keep read-ahead cheap and let pins fill the budget almost to the byte.

use std::collections::HashMap;
use std::ops::Range;

use model::{Matrix, ModelSpec, TensorId};

use crate::StoreError;

/// Reads of 256 KiB and more reach a drive's ceiling; 4 MiB keeps the number of slabs of a 100 GB file at 25,000.
const MAX_SLAB_BYTES: usize = 4 << 20;

/// Index of a slab in its table, in the order in which a pass needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlabId(u32);

/// One slab: which rows of which tensor, and where they lie in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabSpec {
    /// The matrix that the rows belong to.
    pub tensor: TensorId,
    /// The rows.
    pub rows: Range<usize>,
    /// Of the first row, in bytes from the file's start.
    pub offset: u64,
    /// Bytes of all its rows.
    pub len: usize,
}

/// Every slab that a pass needs, in order, and each matrix's share of them.
#[derive(Debug, Default)]
pub struct SlabTable {
    slabs: Vec<SlabSpec>,
    by_tensor: HashMap<TensorId, Range<u32>>,
}

impl SlabTable {
    /// Cuts the matrices of a model's pass into slabs.
    ///
    /// Errors: a matrix does not fit the address space.
    pub fn new(spec: &ModelSpec) -> Result<SlabTable, StoreError> {
        let mut table = SlabTable::default();
        for matrix in spec.pass_order() {
            table.add(spec, &matrix)?;
        }
        Ok(table)
    }

    /// The slab behind an id.
    pub fn get(&self, id: SlabId) -> &SlabSpec {
        &self.slabs[id.index()]
    }

    /// All slabs in the order of the pass.
    pub fn all(&self) -> &[SlabSpec] {
        &self.slabs
    }

    /// The slabs of a matrix, first row first; none if a pass does not multiply with it.
    pub fn of(&self, tensor: TensorId) -> impl Iterator<Item = SlabId> + use<> {
        self.by_tensor.get(&tensor).cloned().unwrap_or(0..0).map(SlabId)
    }

    /// The slab that holds a row of a matrix, if a pass multiplies with that matrix.
    pub(crate) fn holding(&self, tensor: TensorId, row: usize) -> Option<SlabId> {
        let range = self.by_tensor.get(&tensor)?;
        let slabs = &self.slabs[range.start as usize..range.end as usize];
        let at = slabs.partition_point(|s| s.rows.end <= row);
        slabs.get(at).map(|_| SlabId(range.start + u32::try_from(at).expect("fewer slabs than u32::MAX")))
    }

    fn add(&mut self, spec: &ModelSpec, matrix: &Matrix) -> Result<(), StoreError> {
        let info = spec.tensor(matrix.tensor);
        let too_large = || StoreError::TooLarge { tensor: info.name.clone() };
        let row_bytes = matrix.quant.row_bytes(matrix.cols).ok_or_else(too_large)?;
        let rows_per_slab = (MAX_SLAB_BYTES / row_bytes).max(1);
        let first = self.slabs.len();
        for start in (0..matrix.rows).step_by(rows_per_slab) {
            let rows = start..matrix.rows.min(start + rows_per_slab);
            let offset = info.offset + (start * row_bytes) as u64;
            self.slabs.push(SlabSpec { tensor: matrix.tensor, len: rows.len() * row_bytes, rows, offset });
        }
        let id = |i: usize| u32::try_from(i).map_err(|_| too_large());
        self.by_tensor.insert(matrix.tensor, id(first)?..id(self.slabs.len())?);
        Ok(())
    }
}

impl SlabId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}
