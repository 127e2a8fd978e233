//! Slabs: the unit in which weights are read and kept.
//!
//! A slab is a run of whole rows of one matrix. Small units keep read-ahead cheap and let pins fill the budget almost to
//! the byte; large ones keep a drive at its ceiling and the table short.

use std::collections::HashMap;
use std::ops::Range;

use model::{Matrix, ModelSpec, Part};

use crate::error::StoreError;

/// Reads of 256 KiB and more, several at once, reach a drive's ceiling.
const MIN_SLAB_BYTES: u64 = 256 << 10;

/// A file of 100 GB then has 25,000 slabs.
const MAX_SLAB_BYTES: u64 = 4 << 20;

/// The slots of read-ahead, a handful, should be a few percent of a budget that is a fraction of the weights.
const SLABS_PER_MODEL: u64 = 1024;

/// Index of a slab in its table, in the order in which a pass needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlabId(u32);

/// One slab: which rows of which tensor, and where they lie in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabSpec {
    /// The matrix that the rows belong to.
    pub part: Part,
    /// The rows.
    pub rows: Range<usize>,
    /// Which of the model's files it lies in.
    pub file: usize,
    /// Of the first row, in bytes from the file's start.
    pub offset: u64,
    /// Bytes of all its rows.
    pub len: usize,
}

/// Every slab that a pass needs, in order, and each matrix's share of them.
#[derive(Debug, Default)]
pub struct SlabTable {
    slabs: Vec<SlabSpec>,
    by_part: HashMap<Part, Range<u32>>,
}

impl SlabTable {
    /// Cuts the matrices of a model's pass into slabs.
    ///
    /// Errors: a matrix does not fit the address space.
    pub fn new(spec: &ModelSpec) -> Result<SlabTable, StoreError> {
        let mut table = SlabTable::default();
        let order: Vec<Matrix> = spec.walk().map(|used| used.matrix).collect();
        let weights_bytes: u64 = order.iter().map(|m| spec.tensor(m.part.tensor).len).sum();
        let slab_bytes = (weights_bytes / SLABS_PER_MODEL).clamp(MIN_SLAB_BYTES, MAX_SLAB_BYTES);
        let slab_bytes = usize::try_from(slab_bytes).expect("at most 4 MiB");
        for matrix in &order {
            table.add(spec, matrix, slab_bytes)?;
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

    /// The ids of all slabs in the order of the pass.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SlabId> + use<> {
        let n = u32::try_from(self.slabs.len()).expect("`add` has checked every id");
        (0..n).map(SlabId)
    }

    /// The slabs of a matrix, first row first; none if a pass does not multiply with it.
    pub fn of(&self, part: Part) -> impl Iterator<Item = SlabId> + use<> {
        self.by_part.get(&part).cloned().unwrap_or(0..0).map(SlabId)
    }

    /// The slab that holds a row of a matrix, if a pass multiplies with that matrix.
    pub(crate) fn holding(&self, part: Part, row: usize) -> Option<SlabId> {
        let range = self.by_part.get(&part)?;
        let slabs = &self.slabs[range.start as usize..range.end as usize];
        let at = slabs.partition_point(|s| s.rows.end <= row);
        slabs.get(at).map(|_| SlabId(range.start + u32::try_from(at).expect("fewer slabs than u32::MAX")))
    }

    fn add(&mut self, spec: &ModelSpec, matrix: &Matrix, slab_bytes: usize) -> Result<(), StoreError> {
        let info = spec.tensor(matrix.part.tensor);
        let too_large = || StoreError::TooLarge { tensor: info.name.clone() };
        let row_bytes = matrix.quant.row_bytes(matrix.cols).ok_or_else(too_large)?;
        let rows_per_slab = (slab_bytes / row_bytes).max(1);
        let first = self.slabs.len();
        for start in (0..matrix.rows).step_by(rows_per_slab) {
            let rows = start..matrix.rows.min(start + rows_per_slab);
            let first = matrix.part.index as usize * matrix.rows + start;
            let offset = info.offset + (first * row_bytes) as u64;
            let len = rows.len() * row_bytes;
            self.slabs.push(SlabSpec { part: matrix.part, file: usize::from(info.file), len, rows, offset });
        }
        let id = |i: usize| u32::try_from(i).map_err(|_| too_large());
        self.by_part.insert(matrix.part, id(first)?..id(self.slabs.len())?);
        Ok(())
    }
}

#[cfg(test)]
impl SlabTable {
    /// A table of slabs of these lengths, one tensor and one row each, one after another in the file.
    pub(crate) fn of_lens(lens: &[usize]) -> SlabTable {
        let mut table = SlabTable::default();
        let mut offset = 0;
        for (i, &len) in (0..).zip(lens) {
            let part = Part::whole(model::TensorId(i));
            table.by_part.insert(part, i..i + 1);
            table.slabs.push(SlabSpec { part, file: 0, rows: 0..1, offset, len });
            offset += len as u64;
        }
        table
    }
}

impl SlabId {
    pub(crate) fn at(index: usize) -> SlabId {
        SlabId(u32::try_from(index).expect("the table has checked every id"))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}
